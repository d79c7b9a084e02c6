"""Where a fault happens: patterns of paths, origins and peers, as people write them."""

import re
from functools import lru_cache

from ..origins import OriginRule, normal

__all__ = ["checked_path", "checked_peer", "checked_where", "fits_origin", "fits_path", "peer_of"]

_LONGEST_PATH = 2048
_NAME = re.compile(r"[\w.*-]+")


def checked_path(where: str) -> None:
    """ValueError where this is no pattern of a path."""
    if where and not where.startswith("/"):
        raise ValueError(f"{where!r} must be a path that begins with /, for requests that come")
    _path(where)


def checked_where(where: str) -> None:
    """ValueError where this is no pattern of an origin, with or without a path."""
    origin, path = _split(where)
    if origin:
        _origin(origin)
    _path(path)


def checked_peer(where: str) -> None:
    """ValueError where this does not name a peer."""
    sides = where.split("|")
    if not where or len(sides) > 2:
        raise ValueError("partition needs the peer, such as payment, http://payment:8003 or order|payment")
    for side in sides:
        name, at, origin = side.partition("@")
        if at and not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a service")
        _origin(origin if at else name)


def fits_path(pattern: str, path: str) -> bool:
    """Whether the whole path fits; an empty pattern is any."""
    return not pattern or _path(pattern).fullmatch(path[:_LONGEST_PATH]) is not None


def fits_origin(where: str, scheme: str, host: str, port: int, path: str) -> bool:
    """Whether a call goes there."""
    origin, wanted = _split(where)
    return (not origin or _origin(origin).fits((scheme, host, port))) and fits_path(wanted, path)


@lru_cache(maxsize=256)
def peer_of(where: str, service: str) -> tuple[re.Pattern[str], str] | None:
    """The name and the origin of the peer that `service` is cut off from; None where it is none of both sides."""
    sides = where.split("|")
    if len(sides) == 2:
        mine = [bool(_word(_name(side)).fullmatch(service)) for side in sides]
        if not any(mine):
            return None
        sides = [sides[1 if mine[0] else 0]]
    name, _, origin = sides[0].partition("@")
    return _word(_name(sides[0])), origin or name


def _name(side: str) -> str:
    """The service name of a side: what it is called, else the host of its origin."""
    name = side.partition("@")[0]
    return name.rpartition("://")[2].partition(":")[0]


def _split(where: str) -> tuple[str, str]:
    """Origin and path."""
    scheme, mark, rest = where.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host}", f"{slash}{path}"


@lru_cache(maxsize=256)
def _origin(pattern: str) -> OriginRule:
    known = normal(pattern)
    if "://" not in known and not re.search(r":(\d+|\*)$", known):
        known += ":*"
    return OriginRule(known, ())


@lru_cache(maxsize=256)
def _path(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*|\{[^{}/]*\})", pattern)
    made = ("".join(_PIECES.get(part[:1], re.escape(part)) for part in parts)) if pattern else ".*"
    return re.compile(made, re.DOTALL)


_PIECES = {"*": ".*", "{": "[^/]+"}


@lru_cache(maxsize=256)
def _word(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")))
