"""When two requests are the same: everything that an app may look at is."""

import asyncio
import sys
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["credentials", "key_of", "matcher"]

_PASSING = frozenset(
    {b"traceparent", b"tracestate", b"b3", b"uber-trace-id", b"sentry-trace", b"x-amzn-trace-id"}
    | {b"x-cloud-trace-context", b"x-request-id", b"x-correlation-id", b"connection", b"keep-alive"}
    | {b"x-request-deadline", b"grpc-timeout", b"x-envoy-expected-rq-timeout-ms", b"x-envoy-attempt-count"}
)
"""Headers of one moment and one connection: an answer does not depend on them. It may on baggage (a tenant, a user)."""
_PASSING_GROUPS = (b"x-b3-", b"x-datadog-", b"x-envoy-upstream-")
_BODY = frozenset({b"content-length", b"transfer-encoding", b"upgrade", b"expect"})
_WHO = frozenset({b"authorization", b"cookie", b"proxy-authorization"})


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Whether a path is one of `patterns`: as it is written, or with `*` at its end whatever begins like that."""
    patterns = tuple(patterns)
    exact = frozenset(one for one in patterns if not one.endswith("*"))
    begins = tuple(one[:-1] for one in patterns if one.endswith("*"))
    return lambda path: path in exact or path.startswith(begins)


def key_of(scope: "Scope", passing: frozenset[bytes] = frozenset()) -> Hashable | None:
    """Equal for requests of one event loop that are the same; None for one that has something of its own (a body).

    All headers count, in their order, but for `_PASSING` and `passing`: so `Vary` is honoured whatever it says, and no
    two credentials are ever the same request. The address of the socket does not count; what a proxy tells does.
    """
    headers = []
    for name, value in scope["headers"]:
        if name in _BODY and value != b"0":
            return None
        if name not in _PASSING and name not in passing and not name.startswith(_PASSING_GROUPS):
            headers.append((name, value))
    extensions = scope.get("extensions") or {}
    certificate = extensions.get("tls", {}).get("client_cert_chain") if "tls" in extensions else None
    return (
        _loop(),
        scope["method"],
        scope.get("scheme"),
        scope.get("http_version"),
        scope.get("root_path"),
        scope.get("raw_path") or scope["path"],
        scope.get("query_string"),
        tuple(headers),
        tuple(certificate or ()),
        tuple(extensions),
    )


def credentials(scope: "Scope", callers: Iterable[bytes]) -> bool:
    """Whether a request says who sends it, so that all that are the same to it come from one caller."""
    known = _WHO.union(callers)
    return any(name in known for name, _ in scope["headers"])


def _loop() -> Any:
    return asyncio._get_running_loop() or sys.modules["trio"].lowlevel.current_trio_token()
