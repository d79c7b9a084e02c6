"""Encoded spans joined to OTLP JSON lines, the way Jaeger's upload and the collector's file receiver take them.

One document for each trace of a batch, without a line break.
"""

from collections.abc import Callable, Iterable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ..export._encode_request import Item
from ..export._memory import Heads
from .span import attributes, encode, text, trace_of

__all__ = ["join", "lines"]

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


def _resource_head(resource: Resource) -> bytes:
    return f'{{"resource":{{"attributes":{text(attributes(resource.attributes))}}},"scopeSpans":['.encode("ascii")


def _scope_head(scope: InstrumentationScope | None) -> bytes:
    if scope is None:
        return b'{"scope":{},"spans":['
    named = {"name": scope.name, **({"version": scope.version} if scope.version else {})}
    return f'{{"scope":{text(named)},"spans":['.encode("ascii")


_resource = Heads(_resource_head)
_scope = Heads(_scope_head)
