"""Patterns of paths, as the settings have them: `{name}` is one segment, `*` is anything, the rest is itself."""

import re
from collections.abc import Callable, Iterable

__all__ = ["matcher", "regex"]

_SPECIAL = re.compile(r"\{[^{}/]*\}|\*")


def regex(pattern: str) -> str:
    """The pattern as a regular expression, for `fullmatch` with DOTALL."""
    parts = [""]  # between the stars
    end = 0
    for found in _SPECIAL.finditer(pattern):
        parts[-1] += re.escape(pattern[end : found.start()])
        if found[0] == "*":
            parts.append("")
        else:
            parts[-1] += "[^/]+?"
        end = found.end()
    parts[-1] += re.escape(pattern[end:])
    if len(parts) == 1:
        return parts[0]
    # What stands between two stars is taken where it comes first, and for good: else a stranger's long path is tried
    # in every way to share it among the stars.
    first, *between, last = parts
    return f"{first}{''.join(f'(?>.*?{part})' for part in between)}.*{last}"


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path fits one of the patterns. Those that are plain paths cost one look into a set."""
    patterns = tuple(patterns)
    plain = frozenset(pattern for pattern in patterns if not _SPECIAL.search(pattern))
    others = "|".join(regex(pattern) for pattern in patterns if pattern not in plain)
    if not others:
        return plain.__contains__
    fits = re.compile(others, re.DOTALL).fullmatch
    return lambda path: path in plain or fits(path) is not None
