"""Answers of urllib3 that are kept for `stale_on_error`: taken apart, and put together again."""

from collections.abc import Hashable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

from ..stale import Snapshot
from ._kept_headers import Pairs, Spelling, lower, spelled, spelling
from ._way import same

if TYPE_CHECKING:
    from ._urllib3_wire import PoolCall

__all__ = ["Pairs", "asked", "cut_short", "parts", "rebuilt", "response"]

_STOCK = (HTTPConnectionPool, HTTPSConnectionPool)
_OF_POOL = ("cert_file", "cert_reqs", "ca_certs", "ca_cert_dir", "assert_hostname", "assert_fingerprint", "ssl_version")
_PASSING = frozenset({"timeout", "blocksize", "socket_options"})
"""What a pool gives its connections that does not change who is reached, and as whom."""


def asked(call: "PoolCall") -> tuple[str, Pairs, Hashable]:
    """What an answer is kept by; see `stale`."""
    pool, url = call.pool, call.url
    if url.startswith("/"):
        host = f"[{pool.host}]" if ":" in pool.host else pool.host
        url = f"{pool.scheme}://{host}:{pool.port}{url}"
    written = pool.headers if call.headers is None else call.headers
    return url, lower(written.items()), _way(pool, decoded=call.more.get("decode_content", True))


def _way(pool: Any, *, decoded: object) -> Hashable:
    """Equal for two pools that reach the same peer in the same way, as the same client."""
    told = {name: value for name, value in pool.conn_kw.items() if name not in _PASSING}
    through = getattr(pool, "proxy", None)
    proxy = (
        None if through is None else (str(through), dict(pool.proxy_headers or {}), getattr(pool, "proxy_config", 0))
    )
    own = None if type(pool) in _STOCK else pool  # somebody's subclass may do anything
    named = [getattr(pool, name, None) for name in _OF_POOL]
    return "urllib3", same(own), same(named), same(told), same(proxy), same(decoded)


def parts(result: Any, most: int) -> Snapshot | None:
    """Those of a response that `urlopen` has read to its end; None after redirects, whose way is not the URL's."""
    body, retries = getattr(result, "_body", None), getattr(result, "retries", None)
    if type(body) is not bytes or len(body) > most or getattr(retries, "history", None) or cut_short(result):
        return None
    note = (result.reason, result.version, spelling(name for name, _ in result.headers.items()))
    return Snapshot(result.status, lower(result.headers.items()), body, note)


def cut_short(raw: Any) -> bool:
    """Whether less came than `Content-Length` said: urllib3 1.26 takes that for the end."""
    return bool(getattr(raw, "length_remaining", 0))


def rebuilt(call: "PoolCall", answer: Snapshot) -> Any:
    """A response of those parts, read to its end."""
    made = response(answer, answer.body, read=True, method=call.operation, url=call.more.get("request_url", call.url))
    made.retries = call.retries if hasattr(call.retries, "history") else None
    return made


def response(answer: Snapshot, body: bytes, *, read: bool, method: str, url: str) -> Any:
    """urllib3's own response; its body is decoded already, whatever its headers say."""
    reason, version, names = _note(answer)
    made = HTTPResponse(
        body=BytesIO(body),
        headers=spelled(answer.headers, names),  # type: ignore[arg-type] # pairs too, which is how several of a name stay
        status=answer.status,
        version=version,
        reason=reason,
        preload_content=read,
        decode_content=False,
        enforce_content_length=False,
        request_method=method,
        request_url=url,
    )
    made.close()  # as one is that was read to its end
    made.decode_content = read  # what it would say after having decoded
    return made


def _note(answer: Snapshot) -> tuple[str | None, int, Spelling]:
    note: Any = answer.note
    found: tuple[str | None, int, Spelling] = note
    return found
