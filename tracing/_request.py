"""What a SERVER span says from its start, read from an ASGI scope in one pass over the headers."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from . import semconv

Attributes = dict[str, str | int]

_WANTED: Final = frozenset(
    {b"traceparent", b"tracestate", b"baggage", b"host", b"user-agent", b"x-forwarded-host", b"x-forwarded-for"}
    | {b"forwarded"}
)
_DEFAULT_PORT: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]\s,/@]+)(?::([0-9]{1,5}))?").fullmatch
# Keys whose values sign a URL (http-spans, url.query): the key stays, the value goes.
_SECRET = re.compile(
    r"((?:^|&)(?:AWSAccessKeyId|Signature|sig|X-Goog-Signature|X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token)=)"
    r"[^&]*"
)


def headers(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The headers that a span needs; several of one name are joined by commas (RFC 9110, 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _WANTED:
            found[name] = found[name] + b"," + value if name in found else value
    return found


def attributes(scope: Mapping[str, Any], method: str, found: Mapping[bytes, bytes]) -> Attributes:
    """The stable attributes of an HTTP server span that are known before the application runs."""
    scheme = scope.get("scheme") or "http"
    result: Attributes = {
        semconv.HTTP_METHOD: method,
        semconv.URL_PATH: scope["path"],
        semconv.URL_SCHEME: scheme,
        semconv.PROTOCOL_VERSION: scope.get("http_version") or "1.1",
    }
    query = scope.get("query_string")
    if query:
        result[semconv.URL_QUERY] = redacted(query.decode("latin-1"))
    authority = found.get(b"host")
    if b"x-forwarded-host" in found or b"forwarded" in found:
        authority = _forwarded(found, "host") or authority
    where = address(authority, scheme) if authority else _listening(scope)
    if where is not None:
        result[semconv.SERVER_ADDRESS], result[semconv.SERVER_PORT] = where
    _peer(result, scope, found)
    agent = found.get(b"user-agent")
    if agent:
        result[semconv.USER_AGENT] = agent.decode("latin-1")
    return result


def _peer(result: Attributes, scope: Mapping[str, Any], found: Mapping[bytes, bytes]) -> None:
    client = scope.get("client")
    if client:
        result[semconv.PEER_ADDRESS] = result[semconv.CLIENT_ADDRESS] = client[0]
        if client[1]:
            result[semconv.PEER_PORT] = client[1]
    if b"x-forwarded-for" in found or b"forwarded" in found:
        named = _forwarded(found, "for")
        if named:
            text = named.decode("latin-1")
            match = _AUTHORITY(text)
            result[semconv.CLIENT_ADDRESS] = (match[1] if match else text).strip("[]")


def _forwarded(found: Mapping[bytes, bytes], what: str) -> bytes | None:
    """The first hop's word in Forwarded (RFC 7239), else in X-Forwarded-*; "unknown" and "_hidden" say nothing."""
    value = b""
    for pair in found.get(b"forwarded", b"").partition(b",")[0].split(b";"):
        name, _, word = pair.strip().partition(b"=")
        if name.lower() == what.encode():
            value = word.strip(b'"')
    if not value:
        value = found.get(b"x-forwarded-" + what.encode(), b"").partition(b",")[0].strip()
    return None if not value or value.lower() == b"unknown" or value.startswith(b"_") else value


@lru_cache(maxsize=256)
def address(authority: bytes, scheme: str) -> tuple[str, int] | None:
    """Host and port of a Host header, the scheme's port where it names none; None for what is no authority."""
    match = _AUTHORITY(authority.decode("latin-1"))
    if match is None:
        return None
    return match[1].strip("[]"), int(match[2]) if match[2] else _DEFAULT_PORT.get(scheme, 80)


def _listening(scope: Mapping[str, Any]) -> tuple[str, int] | None:
    server = scope.get("server")
    return (server[0], server[1]) if server and server[1] else None  # a UNIX socket has no port


def redacted(query: str) -> str:
    """The query with signatures and credentials of signed URLs replaced by REDACTED."""
    return _SECRET.sub(r"\1REDACTED", query)
