"""Encoded spans joined to what a collector is sent: `ExportTraceServiceRequest`, grouped as the stock encoder does."""

from collections.abc import Iterable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ._encode_value import attributes, sized, utf8
from ._memory import Heads

__all__ = ["Item", "join"]

Item = tuple[bytes, Resource, InstrumentationScope | None]
"""(the encoded span, its resource, its scope)"""


def join(items: Iterable[Item]) -> bytes:
    """The request. Resources and scopes stand in the order of their first span, equal ones together."""
    resources: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
    # A resource hashes itself through JSON each time: look it up by identity first.
    known: dict[tuple[int, int], list[bytes]] = {}
    last: tuple[object, object] | None = None
    first: list[bytes] = []
    append = first.append
    for body, resource, scope in items:
        if last is None or last[0] is not resource or last[1] is not scope:
            last = (resource, scope)
            key = (id(resource), id(scope))
            group = known.get(key)
            if group is None:
                group = known[key] = resources.setdefault(resource, {}).setdefault(scope, [])
            append = group.append
        append(body)
    return b"".join([sized(b"\x0a", _resource_spans(*pair)) for pair in resources.items()])


def _resource_spans(resource: Resource, scopes: dict[InstrumentationScope | None, list[bytes]]) -> bytes:
    parts = [_resource(resource)]
    parts += [sized(b"\x12", _scope_spans(*pair)) for pair in scopes.items()]
    if resource.schema_url:
        parts.append(sized(b"\x1a", utf8(resource.schema_url)))
    return b"".join(parts)


def _scope_spans(scope: InstrumentationScope | None, spans: list[bytes]) -> bytes:
    end = sized(b"\x1a", utf8(scope.schema_url)) if scope is not None and scope.schema_url else b""
    return b"".join((_scope(scope), *spans, end))


def _resource_head(resource: Resource) -> bytes:
    return sized(b"\x0a", b"".join(attributes(b"\x0a", resource.attributes)))


def _scope_head(scope: InstrumentationScope | None) -> bytes:
    if scope is None:
        return b"\x0a\x00"
    parts = [sized(tag, utf8(text)) for tag, text in ((b"\x0a", scope.name), (b"\x12", scope.version)) if text]
    parts += attributes(b"\x1a", scope.attributes)
    return sized(b"\x0a", b"".join(parts))


_resource = Heads(_resource_head)
_scope = Heads(_scope_head)
