"""How much a request matters: by its path, then by what its caller says, where callers may say it."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .settings import LEVELS

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["Levels"]

_DEFAULT = LEVELS.index("critical")
_NAMES = {name.encode(): number for number, name in enumerate(LEVELS)}


class Levels:
    """`routes` are (whether a path fits, level) in the order in which they are tried; `header` may be "off"."""

    def __init__(self, routes: Iterable[tuple[Callable[[str], bool], str]] = (), header: str = "off") -> None:
        self._routes = tuple((fits, LEVELS.index(level)) for fits, level in routes)
        self._header = b"" if header == "off" else header.lower().encode()

    def __call__(self, scope: "Scope") -> int:
        """Its number: 0 matters most."""
        if self._header:
            for name, value in scope["headers"]:
                if name == self._header:
                    said = _NAMES.get(value.strip().lower())
                    if said is not None:
                        return said
        path = scope["path"]
        for fits, level in self._routes:
            if fits(path):
                return level
        return _DEFAULT
