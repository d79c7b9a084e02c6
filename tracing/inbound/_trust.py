"""Whom to believe: proxies about the client, strangers about nothing.

What a proxy says counts only where the peer of the socket is one of `trusted_proxies`, and each further hop is
taken off the right end of the list while it is trusted too: what stands left of the first address that is not
could be written by anybody (RFC 7239, 8.1). Forwarded goes before X-Forwarded-* (http-spans, client.address).
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, SpanContext, set_span_in_context

from .. import semconv
from ..propagation import _w3c

__all__ = ["FORWARDED", "Proxies", "Seen", "link_to"]

FORWARDED = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"}
)
_PAIR = re.compile(r'[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",; \t]*)[ \t]*(;|,|$)')
_NODE = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)|([0-9a-fA-F:]+:[0-9a-fA-F:.]*))(?::[0-9]{1,5})?").fullmatch
_SCHEMES = frozenset({"http", "https", "ws", "wss"})
_MAX_HOPS = 64
_MAX_LENGTH = 4096


class Seen(NamedTuple):
    """The request as it reached the outermost trusted proxy; None for what nobody said."""

    client: str | None
    host: str | None
    scheme: str | None
    port: int | None


_NOTHING = Seen(None, None, None, None)


class Proxies:
    """The proxies to believe: addresses, networks, or "*" for everybody, UNIX sockets included."""

    def __init__(self, trusted: Iterable[str]) -> None:
        words = tuple(trusted)
        self._all = "*" in words
        self._networks = [ipaddress.ip_network(word, strict=False) for word in words if word != "*"]
        self._believed = lru_cache(maxsize=1024)(self._look)

    def seen(self, scope: Mapping[str, Any], found: Mapping[bytes, bytes]) -> Seen:
        """What the proxies in front say; nothing where the peer is not trusted or no header came."""
        if found.keys().isdisjoint(FORWARDED):
            return _NOTHING
        client = scope.get("client")
        if not self._believed(client[0] if client else ""):
            return _NOTHING
        if b"forwarded" in found:
            elements = _elements(found[b"forwarded"])
            if elements:
                return self._by_forwarded(elements)
        return self._by_x_forwarded(found)

    def _look(self, address: str) -> bool:
        if self._all:
            return True
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any(parsed in network or (mapped is not None and mapped in network) for network in self._networks)

    def _walk(self, nodes: list[str]) -> tuple[str | None, int]:
        """The client, and how many hops from the right its entry stands; an unknown one is behind the last known."""
        client = None
        for hops, node in enumerate(reversed(nodes[-_MAX_HOPS:]), 1):
            address = _address(node)
            if address is None:
                if self._all:
                    continue
                return client, hops
            client = address
            if not self._believed(address):
                return client, hops
        return client, min(len(nodes), _MAX_HOPS)

    def _by_forwarded(self, elements: list[dict[str, str]]) -> Seen:
        client, hops = self._walk([element.get("for", "") for element in elements])
        told = elements[-hops]
        return Seen(client, told.get("host") or None, _scheme(told.get("proto", "")), None)

    def _by_x_forwarded(self, found: Mapping[bytes, bytes]) -> Seen:
        nodes = _list(found, b"x-forwarded-for")
        client, hops = self._walk(nodes) if nodes else (None, 1)

        def beside(name: bytes) -> str:
            words = _list(found, name)  # most proxies write one word, whatever the number of hops
            return words[max(len(words) - hops, 0)] if words else ""

        port = beside(b"x-forwarded-port")
        return Seen(
            client,
            beside(b"x-forwarded-host") or None,
            _scheme(beside(b"x-forwarded-proto")),
            int(port) if port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536 else None,
        )


def _list(found: Mapping[bytes, bytes], name: bytes) -> list[str]:
    value = found.get(name)
    return [] if value is None else [word.strip() for word in value[-_MAX_LENGTH:].decode("latin-1").split(",")]


def _elements(header: bytes) -> list[dict[str, str]]:
    """The elements of a Forwarded header (RFC 7239, 4); none where it is malformed."""
    text = header.decode("latin-1")
    if len(text) > _MAX_LENGTH:
        return []
    elements: list[dict[str, str]] = [{}]
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            return []
        name, value, end = match.groups()
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        elements[-1].setdefault(name.lower(), value)
        if end == ",":
            elements.append({})
        position = match.end()
    return elements


def _address(node: str) -> str | None:
    """The IP address of a node, without its port; None for "unknown", "_hidden" and what is no address."""
    match = _NODE(node.strip('"'))
    if match is None:
        return None
    try:
        return str(ipaddress.ip_address(match[1] or match[2] or match[3]))
    except ValueError:
        return None


def _scheme(word: str) -> str | None:
    word = word.lower()
    return word if word in _SCHEMES else None


def link_to(base: Context, found: Mapping[bytes, bytes]) -> tuple[Context, tuple[Link, ...]]:
    """For a caller who is not trusted: a context for a new root, and a link to what the caller says it is.

    Of its headers nothing else gets in: no sampling flag, no tracestate, no baggage.
    """
    base = set_span_in_context(INVALID_SPAN, base)
    header = found.get(b"traceparent")
    caller: SpanContext | None = None if header is None else _w3c.parse(header, None)
    if caller is None:
        return base, ()
    return base, (Link(caller, {semconv.LINK_KIND: semconv.LINK_CALLER}),)
