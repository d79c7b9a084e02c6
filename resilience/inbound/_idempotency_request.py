"""What a request with an `Idempotency-Key` is known by: its key, whose it is, and what it asks for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from ..keyed import STORE
from ._idempotency_caller import caller_of

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["KEY", "Asked", "InvalidKey", "Reading"]

KEY = b"idempotency-key"
LONGEST = 255
"""Characters of a key: what Stripe takes."""

_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"[ \t]*(?:;.*)?').fullmatch
"""RFC 9651, 3.3.3, and parameters, which the draft gives no meaning."""
_BARE = re.compile(r"[!#-+\--~]+").fullmatch
"""One word without quotes and commas: what clients send that have not read the draft."""
_PASSING = re.compile(
    r"_ga(_[A-Z0-9]+)?|_gid|_gat(_UA-[\d-]+|_gtag_\w+)?|_gcl_\w+|__utm[a-z]+|_fb[cp]|_hj\w+|_pk_(id|ses|ref|cvar|hsr)\..*"
    r"|_uet[sv]id|_cl(ck|sk)|_dd_s|__cf_bm|_cfuvid|AWSALB(APP-\d|CORS|TG|TGCORS)?"
).fullmatch
"""Cookies that name no person and change by themselves: analytics, load balancers, bot checks."""
_BOUNDARY = re.compile(rb'multipart/.*;[ \t]*boundary="?([^";\s]{8,70})"?.*', re.IGNORECASE).fullmatch


class InvalidKey(ValueError):
    """No key that could be honoured; the message tells what one looks like."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with a key. `digest` is the 32 bytes under which a store knows it; nothing else of it leaves here.

    Two requests are the same if `asked` (query and content type), `cookies` (and credentials that change, see
    `caller_of`) and the body are; `length` is what Content-Length says of that, and `boundary` is that of a form, which
    is another one each time that it is written (empty: it is none). `store` is the one that the caller relies on, None
    where it does not say. `host` is the Host as it was sent.
    """

    key: str
    digest: bytes
    asked: str
    cookies: str
    length: int | None
    boundary: bytes
    store: str | None
    host: bytes

    @property
    def short(self) -> str:
        """For traces and logs: enough to find what belongs together, nothing that could be sent as a key."""
        return self.digest[:8].hex()


class Reading:
    """Reads requests; `callers` are the headers that tell one caller from another, each of whom has its own keys."""

    def __init__(self, callers: Iterable[str]) -> None:
        self._callers = tuple(sorted({name.lower().encode("latin-1", "replace") for name in callers}))
        self._wanted = frozenset(
            {*self._callers, KEY, STORE.encode(), b"host", b"cookie"}
            | {b"content-type", b"content-encoding", b"content-length"}
        )

    def read(self, scope: "Scope") -> Asked:
        """Everything that the head of a request says; raises InvalidKey."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name in self._wanted:
                found.setdefault(name, []).append(value)
        key = _key(found[KEY])
        who: list[bytes] = []
        changing: list[bytes] = []
        for name in self._callers:
            who.append(name)
            for one in _counted(found.get(name)):
                caller = caller_of(one)
                who.append(one if caller is None else b"caller " + caller)
                changing += () if caller is None else (one,)
        kinds = found.get(b"content-type")
        form = _BOUNDARY(kinds[0]) if kinds is not None and len(kinds) == 1 else None
        if form is not None:
            kinds = [form.string.replace(form[1], b"")]
        what = (*_counted(kinds), *_counted(found.get(b"content-encoding")))
        store = found.get(STORE.encode())
        length = found.get(b"content-length", [b""])[0]
        return Asked(
            key=key,
            digest=_digest(32, scope["method"].encode(), _path(scope), *who, key.encode()),
            asked=_digest(16, scope.get("query_string", b""), *what).hex(),
            cookies=_cookies(found.get(b"cookie"), changing),
            length=int(length) if length.isdigit() and len(length) < 16 else None,
            boundary=b"" if form is None else form[1],
            store=None if store is None else store[0].decode("latin-1").strip().strip('"'),
            host=found.get(b"host", [b""])[0],
        )


def _key(values: list[bytes]) -> str:
    if len(values) > 1:
        raise InvalidKey("the request has more than one Idempotency-Key: send one")
    text = values[0].decode("latin-1").strip(" \t")
    if match := _STRING(text):
        text = re.sub(r'\\(["\\])', r"\1", match[1])
    elif not _BARE(text):
        raise InvalidKey('send a key of printable ASCII as a string, Idempotency-Key: "..."; a UUID, for example')
    if not 0 < len(text) <= LONGEST:
        raise InvalidKey(f"send a key of 1 to {LONGEST} characters; a UUID, for example")
    return text


def _path(scope: "Scope") -> bytes:
    """The whole path: servers differ in whether `path` has the `root_path` in it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    whole = path if not root or path == root or path.startswith(root + "/") else root + path
    return whole.encode("utf-8", "surrogateescape")


def _counted(values: list[bytes] | None) -> list[bytes]:
    """With their number first, so that no two lists of several read the same."""
    return [b"0"] if values is None else [str(len(values)).encode(), *values]


def _cookies(values: list[bytes] | None, changing: list[bytes]) -> str:
    """A digest of the cookies that may tell who somebody is, in any order, and of credentials that change; empty where
    there are none.
    """
    if values is None:
        return _digest(16, b"", *changing).hex() if changing else ""
    crumbs = sorted(
        crumb
        for value in values
        for one in value.split(b";")
        if (crumb := one.strip()) and not _PASSING(crumb.partition(b"=")[0].decode("latin-1"))
    )
    if changing:
        crumbs += [b"", *changing]
    return _digest(16, *crumbs).hex() if crumbs else ""


def _digest(size: int, *parts: bytes) -> bytes:
    digest = blake2b(digest_size=size)
    for part in parts:
        digest.update(b"%d:%b" % (len(part), part))
    return digest.digest()
