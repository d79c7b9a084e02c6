"""Encoded spans joined to what a collector is sent: `ExportTraceServiceRequest`, grouped as the stock encoder does."""

from collections.abc import Iterable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ._encode_value import attributes, sized, utf8

__all__ = ["Item", "join"]

Item = tuple[bytes, Resource, InstrumentationScope | None]
"""(the span from `encode`, its resource, its scope)"""


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


_LARGEST = 64
_resources: dict[int, tuple[Resource, bytes]] = {}
_scopes: dict[int, tuple[InstrumentationScope, bytes]] = {}
"""Headers by identity; the object is kept beside them, so that its id is not given to another one."""


def _resource(resource: Resource) -> bytes:
    found = _resources.get(id(resource))
    if found is None:
        if len(_resources) >= _LARGEST:
            _resources.clear()
        body = b"".join(attributes(b"\x0a", resource.attributes))
        found = _resources[id(resource)] = (resource, sized(b"\x0a", body))
    return found[1]


def _scope(scope: InstrumentationScope | None) -> bytes:
    if scope is None:
        return b"\x0a\x00"
    found = _scopes.get(id(scope))
    if found is None:
        if len(_scopes) >= _LARGEST:
            _scopes.clear()
        parts = [sized(tag, utf8(text)) for tag, text in ((b"\x0a", scope.name), (b"\x12", scope.version)) if text]
        parts += attributes(b"\x1a", scope.attributes)
        found = _scopes[id(scope)] = (scope, sized(b"\x0a", b"".join(parts)))
    return found[1]
