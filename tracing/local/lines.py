"""Encoded spans joined to OTLP JSON lines, the way Jaeger's upload and the collector's file receiver take them.

One document for each trace of a batch, without a line break.
"""

from collections.abc import Callable, Iterable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .span import attributes, encode, text, trace_of

__all__ = ["Item", "join", "lines"]

Item = tuple[bytes, Resource, InstrumentationScope | None]
"""(the span from `span.encode`, its resource, its scope)"""

_SPANS = 16
_DOCUMENTS = 64
"""Between two pauses: about 0.1 ms of work each."""


def lines(spans: Iterable[ReadableSpan], pause: Callable[[], None] = lambda: None) -> list[bytes]:
    """One JSON document for each trace among `spans`, in order of first appearance.

    `pause` is called every tenth of a millisecond or so: the place to let other threads run.
    """
    items: list[Item] = []
    for number, span in enumerate(spans):
        if number % _SPANS == _SPANS - 1:
            pause()
        items.append((encode(span), span.resource, span.instrumentation_scope))
    return join(items, pause)


def join(items: Iterable[Item], pause: Callable[[], None] = lambda: None) -> list[bytes]:
    """The same for spans that are encoded already."""
    traces: dict[bytes, list[Item]] = {}
    for item in items:
        traces.setdefault(trace_of(item[0]), []).append(item)
    out: list[bytes] = []
    for number, members in enumerate(traces.values()):
        if number % _DOCUMENTS == _DOCUMENTS - 1:
            pause()
        out.append(_document(members))
    return out


def _document(members: list[Item]) -> bytes:
    """`{"resourceSpans": [...]}`, grouped by resource and scope, each told apart by identity."""
    grouped: dict[int, tuple[Resource, dict[int, tuple[InstrumentationScope | None, list[bytes]]]]] = {}
    for body, resource, scope in members:
        _, scopes = grouped.setdefault(id(resource), (resource, {}))
        scopes.setdefault(id(scope), (scope, []))[1].append(body)
    parts = [
        b"%b%b]}"
        % (
            _resource(resource),
            b",".join([b"%b%b]}" % (_scope(scope), b",".join(bodies)) for scope, bodies in scopes.values()]),
        )
        for resource, scopes in grouped.values()
    ]
    return b'{"resourceSpans":[%b]}' % b",".join(parts)


_LARGEST = 64
_heads: dict[int, tuple[object, bytes]] = {}
"""Of resources and scopes, by identity; the object is kept beside them, so that its id is not given to another one."""


def _resource(resource: Resource) -> bytes:
    return _head(
        resource, lambda: f'{{"resource":{{"attributes":{text(attributes(resource.attributes))}}},"scopeSpans":['
    )


def _scope(scope: InstrumentationScope | None) -> bytes:
    if scope is None:
        return b'{"scope":{},"spans":['
    named = {"name": scope.name, **({"version": scope.version} if scope.version else {})}
    return _head(scope, lambda: f'{{"scope":{text(named)},"spans":[')


def _head(of: object, made: Callable[[], str]) -> bytes:
    found = _heads.get(id(of))
    if found is None:
        if len(_heads) >= _LARGEST:
            _heads.clear()
        found = _heads[id(of)] = (of, made().encode("ascii"))
    return found[1]
