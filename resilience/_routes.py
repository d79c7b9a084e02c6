"""Which of an origin's `breaker_routes` a path belongs to."""

import re
from functools import lru_cache
from urllib.parse import unquote, urlsplit

__all__ = ["matching", "path_of"]


def matching(patterns: tuple[str, ...], path: str) -> str | None:
    """The first of the patterns that the whole path fits; `*` stands for anything, slashes included."""
    for pattern in patterns:
        if _compiled(pattern).fullmatch(path):
            return pattern
    return None


def path_of(url: str) -> str:
    """The path of a URL, or of what stands in a request line, as people write it."""
    return unquote(urlsplit(url).path)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)
