"""The light tracer decides as the SDK's tracer does, and costs nothing where nothing is recorded."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    AlwaysRecordSampler,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from handrail.resilience.testing import run
from handrail.tracing.spans._light import LightSpan
from tests.tracing_span.twins import Twin, hearing, lightened, twins

SAMPLERS: list[Callable[[], Sampler]] = [
    lambda: ALWAYS_ON,
    lambda: ALWAYS_OFF,
    lambda: TraceIdRatioBased(0.5),
    lambda: ParentBased(ALWAYS_OFF),
    lambda: ParentBased(TraceIdRatioBased(0.5), remote_parent_sampled=TraceIdRatioBased(0.1)),
    lambda: ParentBased(ALWAYS_ON, local_parent_not_sampled=AlwaysRecordSampler(ALWAYS_OFF)),
    lambda: ParentBasedTraceIdRatio(0.3),
    lambda: AlwaysRecordSampler(ALWAYS_OFF),
]
STATE = TraceState([("a", "b")])
parents = st.one_of(
    st.none(),
    st.builds(
        SpanContext,
        st.one_of(st.integers(0, 3), st.integers(0, 2**128 - 1)),
        st.integers(0, 3),
        is_remote=st.booleans(),
        trace_flags=st.integers(0, 255).map(TraceFlags),
        trace_state=st.sampled_from([TraceState(), STATE]),
    ),
)


def under(parent: SpanContext | None) -> Context:
    """A context with that parent."""
    return Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())


def never() -> dict[str, Any]:
    """Attributes that nobody may ask for."""
    raise AssertionError("nobody looks at these attributes")


class Picky(Sampler):
    """Looks at everything, adds an attribute and a state, drops what is boring."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        attributes = dict(attributes or {})
        self.asked.append((parent_context, trace_id, name, kind, dict(attributes), len(links or ()), trace_state))
        decision = Decision.DROP if attributes.get("boring") else Decision.RECORD_AND_SAMPLE
        return SamplingResult(decision, attributes | {"by": "picky", "odd": [1]}, STATE)

    def get_description(self) -> str:
        return "Picky"


@given(st.sampled_from(SAMPLERS), parents, st.booleans())
def test_it_decides_as_the_sdk_does(sampler: Callable[[], Sampler], parent: SpanContext | None, random: bool) -> None:
    """Sampled or not, ids, flags with the random bit, trace state, parent: the same for every sampler and parent."""
    spans: list[Any] = [
        twin.tracer.start_span("a", under(parent), attributes={"a": 1})
        for twin in twins(sampler=sampler, random=random)
    ]
    theirs, ours = spans
    assert ours.get_span_context() == theirs.get_span_context()
    assert type(ours.get_span_context().trace_flags) is TraceFlags
    assert ours.is_recording() == theirs.is_recording()
    assert getattr(ours, "parent", None) == getattr(theirs, "parent", None)
    assert dict(getattr(ours, "attributes", {})) == dict(getattr(theirs, "attributes", {}))


def test_ids_of_the_stock_generator_are_valid_and_random() -> None:
    """Without a generator of the service the ids are valid, differ, and say that they are random."""
    tracer = lightened(TracerProvider(shutdown_on_exit=False).get_tracer("a"))
    found = [tracer.start_span("a", Context()).get_span_context() for _ in range(50)]
    assert all(context.is_valid and context.trace_flags == 3 and not context.is_remote for context in found)
    assert all(context == SpanContext(context[0], context[1], False, context[3], context[4]) for context in found)
    assert len({context.trace_id for context in found}) == len({context.span_id for context in found}) == 50


def test_an_unsampled_span_computes_nothing_and_propagates() -> None:
    """Where nothing is recorded nobody computes attributes, and the headers say: not sampled."""
    _, ours = twins(sampler=lambda: ParentBased(ALWAYS_OFF))
    parent = SpanContext(5, 6, is_remote=True, trace_flags=TraceFlags(2), trace_state=STATE)
    span = ours.tracer.begin("a", under(parent), SpanKind.SERVER, never)  # type: ignore[attr-defined]
    assert type(span) is NonRecordingSpan
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span, Context()))
    assert carrier == {"traceparent": f"00-{5:032x}-{1:016x}-02", "tracestate": "a=b"}
    assert ours.seen.calls == []


def test_a_custom_sampler_sees_everything_and_adds_to_it() -> None:
    """A sampler that is not the SDK's gets context, name, kind, attributes and links, and its result is used."""
    made = []
    for twin in twins(sampler=Picky):
        link = Link(SpanContext(7, 8, is_remote=True))
        arguments: dict[str, Any] = {"kind": SpanKind.SERVER, "attributes": {"x": 1, "y": ["z"]}, "links": [link]}
        span: Any = twin.tracer.start_span("a", Context(), **arguments)
        dropped = twin.tracer.start_span("b", Context(), attributes={"boring": True})
        made.append((dict(span.attributes), span.get_span_context(), dropped.get_span_context(), len(span.links)))
        made.append(twin.provider.sampler.asked)  # type: ignore[attr-defined]
        assert not dropped.is_recording()
    assert made[2:] == made[:2]
    assert made[2][0] == {"x": 1, "y": ("z",), "by": "picky", "odd": (1,)}


def test_begin_gives_a_custom_sampler_its_attributes() -> None:
    """`begin` computes the attributes once where the sampler may look at them."""
    _, ours = twins(sampler=Picky)
    calls = []

    def make(value: int) -> dict[str, Any]:
        calls.append(value)
        return {"x": value}

    span: Any = ours.tracer.begin("a", Context(), SpanKind.SERVER, make, 3)  # type: ignore[attr-defined]
    assert (calls, dict(span.attributes)) == ([3], {"x": 3, "by": "picky", "odd": (1,)})


def test_begin_keeps_limits_and_links() -> None:
    """What `begin` is given obeys the limits of the provider."""
    _, ours = twins(limits=SpanLimits(max_span_attributes=2, max_links=1, max_span_attribute_length=3))
    links = [Link(SpanContext(7, number, is_remote=True)) for number in (1, 2)]
    arguments = ("a", Context(), SpanKind.SERVER, lambda: {"a": "long", "b": 1, "c": 2})
    with hearing([]):
        span: Any = ours.tracer.begin(*arguments, links=links, start_time=5)  # type: ignore[attr-defined]
        span.set_attribute("d", "longer")
    assert (dict(span.attributes), span.dropped_attributes) == ({"c": 2, "d": "lon"}, 2)
    assert (span.dropped_links, span.links[0].context.span_id, span.start_time) == (1, 2, 5)


def test_the_callers_attributes_stay_his() -> None:
    """A dict or a list that the caller changes later does not change the span, nor the span his dict."""
    _, ours = twins()
    words = ["x"]
    cases: list[dict[str, Any]] = [{"a": 1}, {"a": 1, "b": words}]
    spans: list[Any] = [ours.tracer.start_span("a", attributes=case) for case in cases]
    for span, case in zip(spans, cases, strict=True):
        span.set_attribute("c", 2)
        case["d"] = 3
    words.append("y")
    assert [dict(span.attributes) for span in spans] == [{"a": 1, "c": 2}, {"a": 1, "b": ("x",), "c": 2}]
    assert [set(case) for case in cases] == [{"a", "d"}, {"a", "b", "d"}]


def test_a_disabled_tracer_makes_nothing() -> None:
    """A tracer configurator that switches ours off at run time leaves the parent in place."""
    parent = SpanContext(5, 6, is_remote=True)
    for twin in twins():
        twin.provider._set_tracer_configurator(tracer_configurator=sdk._disable_tracer_configurator)
        assert twin.tracer.start_span("a", under(parent)).get_span_context() == parent
        assert twin.tracer.start_span("a", Context()).get_span_context() == INVALID_SPAN_CONTEXT
        assert twin.seen.calls == []
    span = twins()[1].tracer.start_span("a")
    assert span.is_recording()


def test_a_parent_that_is_no_span_context_is_refused() -> None:
    """As the SDK: TypeError for a span whose context is something else."""

    class Strange(NonRecordingSpan):
        def get_span_context(self) -> Any:
            return "context"

    for twin in twins():
        with pytest.raises(TypeError, match="parent_span_context must be a SpanContext or None"):
            twin.tracer.start_span("a", set_span_in_context(Strange(INVALID_SPAN_CONTEXT), Context()))


def test_it_follows_what_is_changed_on_the_tracer() -> None:
    """A new resource, as after a fork, a new sampler and new ids hold from the next span on."""
    _, ours = twins()
    before: Any = ours.tracer.start_span("a")
    ours.provider._update_resource(Resource({"process.pid": 7}))
    after: Any = ours.tracer.start_span("a")
    assert "process.pid" not in before.resource.attributes
    assert after.resource.attributes["process.pid"] == 7
    ours.provider.get_tracer("shop", "1", "https://schema", {"k": "v"}).sampler = ALWAYS_OFF  # type: ignore[attr-defined]
    assert not ours.tracer.start_span("a").is_recording()


def block(twin: Twin, how: str) -> list[Any]:
    """A current span around a failure: as a block, a decorator, a coroutine's decorator."""
    seen: list[Any] = []

    def fail() -> None:
        seen.append(get_current_span().get_span_context())
        raise ValueError("wrong")

    async def fail_later() -> None:
        fail()

    current = twin.tracer.start_as_current_span(
        "a", record_exception=how != "silent", set_status_on_exception=how != "silent", end_on_exit=how != "open"
    )
    with pytest.raises(ValueError, match="wrong"):  # noqa: PT012  (one failure, in three forms)
        if how == "coroutine":
            run(current(fail_later)())
        elif how == "decorator":
            current(fail)()
        else:
            with current as span:
                seen.append(span.get_span_context())
                fail()
    assert get_current_span().get_span_context() == INVALID_SPAN_CONTEXT
    for ended in twin.seen.ended:
        events = [(event.name, (event.attributes or {})["exception.message"]) for event in ended.events]
        seen.append((ended.name, ended.status.status_code, ended.status.description, events))
    return seen


@pytest.mark.parametrize("how", ["block", "silent", "open", "decorator", "coroutine"])
def test_a_current_span_behaves_as_the_sdks(how: str) -> None:
    """`start_as_current_span` in its forms: current inside, restored after, the failure told, ended or not."""
    theirs, ours = twins()
    assert block(ours, how) == block(theirs, how)


@pytest.mark.parametrize("flags", [(True, True), (True, False), (False, True), (False, False)])
def test_a_span_as_a_block_tells_of_its_failure_as_asked(flags: tuple[bool, bool]) -> None:
    """`with tracer.start_span(...)`: exception recorded and status set, each where it was asked for."""
    found = []
    for twin in twins():
        with (
            pytest.raises(ValueError, match="wrong"),
            twin.tracer.start_span("a", record_exception=flags[0], set_status_on_exception=flags[1]),
        ):
            raise ValueError("wrong")
        span = twin.seen.ended[0]
        found.append((len(span.events), span.status.status_code, span.status.description))
    assert found[1] == found[0] == (int(flags[0]), StatusCode.ERROR if flags[1] else StatusCode.UNSET, found[0][2])


def test_threads_that_add_at_once_lose_nothing() -> None:
    """Eight threads add attributes, events and links to one span while a ninth reads it: all are there."""
    _, ours = twins(limits=SpanLimits(max_span_attributes=10_000, max_events=10_000, max_links=10_000))
    span: Any = ours.tracer.start_span("a", attributes={"first": [1]})
    other = SpanContext(7, 8, is_remote=True)

    def add(thread: int) -> None:
        for number in range(200):
            span.set_attribute(f"{thread}.{number}", number)
            span.set_attributes({f"{thread}.{number}.list": [number]})
            span.add_event(f"{thread}.{number}")
            span.add_link(other, {"n": number})

    def read() -> None:
        for _ in range(200):
            assert dict(span.attributes)["first"] == (1,)
            assert len(span.events) <= 1_600
            span.to_json()

    with ThreadPoolExecutor(9) as pool:
        for done in [pool.submit(read), *(pool.submit(add, thread) for thread in range(8))]:
            done.result()
    assert (len(span.attributes), len(span.events), len(span.links)) == (3_201, 1_600, 1_600)


def test_a_span_that_threads_end_at_once_ends_once() -> None:
    """Of many ends at the same time one counts; the processors hear of one."""
    _, ours = twins()
    with hearing(ours.heard), ThreadPoolExecutor(8) as pool:
        for _ in range(100):
            span: Span = ours.tracer.start_span("a")
            for done in [pool.submit(span.end) for _ in range(8)]:
                done.result()
    assert len(ours.seen.ended) == 100
    assert len(ours.heard) == 700


def test_the_sdks_own_metrics_count_light_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED counts started and live spans as before."""
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    found = []
    for choose in (lambda tracer: tracer, lightened):
        reader = InMemoryMetricReader()
        meters = MeterProvider([reader], shutdown_on_exit=False)
        provider = TracerProvider(shutdown_on_exit=False, meter_provider=meters)
        tracer = choose(provider.get_tracer("a"))
        tracer.start_span("ended", Context()).end()
        tracer.start_span("live", under(SpanContext(5, 6, is_remote=True, trace_flags=TraceFlags(1))))
        tracer.start_span("dropped", under(SpanContext(5, 6, is_remote=True)))
        data = reader.get_metrics_data()
        assert data is not None
        points = [
            (metric.name, dict(point.attributes or {}), getattr(point, "value", None))
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
            for point in metric.data.data_points
        ]
        found.append(sorted(points, key=repr))
    assert found[1] == found[0]
    assert len(found[0]) == 4


def test_a_light_span_is_what_comes_out() -> None:
    """The twins differ in their class, or these tests would compare the SDK with itself."""
    theirs, ours = twins()
    assert type(theirs.tracer.start_span("a")) is sdk._Span
    assert type(ours.tracer.start_span("a")) is LightSpan
