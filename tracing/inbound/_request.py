"""What a SERVER span says from its start, read from an ASGI scope in one pass over the headers."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from opentelemetry.util.types import AnyValue

from .. import redact, semconv
from ._trust import Seen

Attributes = dict[str, AnyValue]

WANTED: Final = frozenset({b"traceparent", b"tracestate", b"baggage", b"host", b"user-agent"})
_DEFAULT_PORT: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]\s,/@]+)(?::([0-9]{1,5}))?").fullmatch
_PORT = re.compile(r".*[^:]:[0-9]{1,5}").fullmatch


def headers(scope: Mapping[str, Any], wanted: frozenset[bytes] = WANTED) -> dict[bytes, bytes]:
    """The headers that a span needs; several of one name are joined by commas (RFC 9110, 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in wanted:
            found[name] = found[name] + b"," + value if name in found else value
    return found


def attributes(
    scope: Mapping[str, Any],
    method: str,
    original: str,
    scheme: str,
    found: Mapping[bytes, bytes],
    seen: Seen | None,
) -> Attributes:
    """The stable attributes of an HTTP server span that are known before the application runs.

    `seen` is what trusted proxies say; it goes before what the socket says.
    """
    result: Attributes = {
        semconv.HTTP_METHOD: method,
        semconv.URL_PATH: scope["path"],
        semconv.URL_SCHEME: scheme,
        semconv.PROTOCOL_VERSION: scope.get("http_version") or "1.1",
    }
    if original is not method:
        result[semconv.HTTP_METHOD_ORIGINAL] = original
    query = scope.get("query_string")
    if query:
        result[semconv.URL_QUERY] = redact.query(query.decode("latin-1"))
    authority = found.get(b"host")
    where = address(authority, scheme) if authority else _listening(scope)
    if where is not None:
        result[semconv.SERVER_ADDRESS], port = where
        if port:
            result[semconv.SERVER_PORT] = port
    client = scope.get("client")
    if client and client[0]:
        result[semconv.PEER_ADDRESS] = result[semconv.CLIENT_ADDRESS] = client[0]
        if client[1]:
            result[semconv.PEER_PORT] = client[1]
    agent = found.get(b"user-agent")
    if agent:
        result[semconv.USER_AGENT] = _agent(agent, redact.current())
    if seen is not None:
        _through_proxies(result, scheme, seen)
    return result


def websocket(
    scope: Mapping[str, Any], method: str, scheme: str, found: Mapping[bytes, bytes], seen: Seen | None
) -> Attributes:
    """The same for the handshake of a websocket."""
    result = attributes(scope, method, method, scheme, found, seen)
    result[semconv.PROTOCOL_NAME] = "websocket"
    return result


def _through_proxies(result: Attributes, scheme: str, seen: Seen) -> None:
    if seen.client is not None:
        result[semconv.CLIENT_ADDRESS] = seen.client
    where = None if seen.host is None else address(seen.host.encode("latin-1", "replace"), scheme)
    if where is not None:
        result[semconv.SERVER_ADDRESS], result[semconv.SERVER_PORT] = where
    if seen.port is not None and (seen.host is None or not _PORT(seen.host)):
        result[semconv.SERVER_PORT] = seen.port


def scheme_of(scope: Mapping[str, Any], seen: Seen | None) -> str:
    """url.scheme: what the client used, as far as it is known; "wss" for a websocket that came by "https"."""
    scheme: str = scope.get("scheme") or "http"
    if seen is None or seen.scheme is None:
        return scheme
    secure = seen.scheme in ("https", "wss")
    if scope["type"] == "websocket":
        return "wss" if secure else "ws"
    return "https" if secure else "http"


@lru_cache(maxsize=256)
def address(authority: bytes, scheme: str) -> tuple[str, int] | None:
    """Host and port of a Host header, the scheme's port where it names none; None for what is no authority."""
    match = _AUTHORITY(authority.decode("latin-1"))
    if match is None:
        return None
    return match[1].strip("[]"), int(match[2]) if match[2] else _DEFAULT_PORT.get(scheme, 80)


def _listening(scope: Mapping[str, Any]) -> tuple[str, int] | None:
    server = scope.get("server")  # of a UNIX socket its path, and no port
    return (server[0], server[1] or 0) if server and server[0] else None


@lru_cache(maxsize=256)
def _agent(header: bytes, redaction: redact.Redaction) -> str:
    return redaction.text(header.decode("latin-1"))
