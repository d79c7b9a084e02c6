"""Answers of requests that are kept for `stale_on_error`: taken apart, and put together again."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from ..stale import Snapshot
from ._kept_headers import Pairs, lower, spelling
from ._urllib3_keep import cut_short, response
from ._way import same

if TYPE_CHECKING:
    import requests

    from ._requests_wire import AdapterCall

__all__ = ["Pairs", "asked", "parts", "rebuilt"]

_PASSING = frozenset({"maxsize", "block", "num_pools", "strict"})
"""What an adapter tells its pools that does not change who is reached, and as whom."""


def asked(call: "AdapterCall") -> tuple[str, Pairs, Hashable]:
    """What an answer is kept by; see `stale`."""
    request = call.request
    return str(request.url), lower(request.headers.items()), _way(call)


def _way(call: "AdapterCall") -> Hashable:
    """Equal for two adapters that reach the same peer in the same way, as the same client."""
    adapter, options = call.adapter, call.options
    own = None if type(adapter) is HTTPAdapter else adapter  # somebody's subclass may do anything
    pools = getattr(getattr(adapter, "poolmanager", adapter), "connection_pool_kw", {})
    told = {name: value for name, value in pools.items() if name not in _PASSING}
    proxy = select_proxy(call.request.url, options.get("proxies"))
    return "requests", same(own), same(told), same(options.get("verify", True)), same(options.get("cert")), same(proxy)


def parts(call: "AdapterCall", result: "requests.Response", most: int) -> Snapshot | None:
    """Those of a response that was read to its end."""
    body: object = getattr(result, "_content", None)
    if call.stream or type(body) is not bytes or len(body) > most or cut_short(result.raw):
        return None
    headers: Any = getattr(result.raw, "headers", result.headers)
    note = (result.reason, getattr(result.raw, "version", 11), spelling(name for name, _ in headers.items()))
    return Snapshot(result.status_code, lower(headers.items()), body, note)


def rebuilt(call: "AdapterCall", answer: Snapshot) -> "requests.Response":
    """A response of those parts, read to its end: by the adapter, as it makes all of its responses."""
    raw = response(answer, b"", read=False, method=call.operation, url=call.request.path_url)
    made: Any = call.adapter.build_response(call.request, raw)
    made._content, made._content_consumed = answer.body, True
    result: requests.Response = made
    return result
