"""Which of an origin's `breaker_routes` a path belongs to."""

from functools import lru_cache
from urllib.parse import unquote, urlsplit

__all__ = ["matching", "path_of"]


def matching(patterns: tuple[str, ...], path: str) -> str | None:
    """The first of the patterns that the whole path fits; `*` stands for anything, slashes included."""
    for pattern in patterns:
        if _fits(pattern, path):
            return pattern
    return None


def _fits(pattern: str, path: str) -> bool:
    # By hand: a regular expression tries every way to share the path among the stars, and the path may be a stranger's.
    first, *others = _parts(pattern)
    if not others:
        return path == first
    last = others.pop()
    if not path.startswith(first) or not path.endswith(last):
        return False
    at, end = len(first), len(path) - len(last)
    for part in others:
        found = path.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return at <= end


def path_of(url: str) -> str:
    """The path of a URL, or of what stands in a request line, as people write it."""
    return unquote(urlsplit(url).path)


@lru_cache(maxsize=256)
def _parts(pattern: str) -> list[str]:
    return pattern.split("*")
