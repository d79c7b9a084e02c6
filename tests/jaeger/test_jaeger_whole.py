"""What holds for every trace of the order service in a real Jaeger, over OTLP/HTTP and OTLP/gRPC."""

import re

import pytest

from tests.jaeger.story import CLIENT, INTERNAL, SERVER, Answer, Story, calls, root

pytestmark = pytest.mark.jaeger

SERVICES = {"order", "inventory", "payment", "shipping"}
SPANS = {"healthy": 7, "retried": 11, "timed_out": 11, "dead": 12, "opening": 10, "rejected": 10}
"""Spans of each order's trace: one SERVER span, and two for each call, one where nobody listened."""

ROUTES = {
    ("order", "POST /orders"),
    ("inventory", "PUT /reservations/{order_id}"),
    ("inventory", "DELETE /reservations/{order_id}"),
    ("payment", "POST /charges"),
    ("payment", "DELETE /charges/{order_id}"),
    ("shipping", "POST /shipments"),
}
UNROUTED = {("payment", "POST"), ("shipping", "POST")}
"""Answered, or left to hang, by the middleware that makes the trouble: no route was reached."""


@pytest.fixture(params=SPANS)
def answer(request: pytest.FixtureRequest, story: Story) -> tuple[Answer, int]:
    return getattr(story, request.param), SPANS[request.param]


def test_each_order_ends_as_it_must(story: Story) -> None:
    """Placed where payment failed twice; a clear answer where shipping hangs, is dead, or is not asked any more."""
    names = dict.fromkeys(SPANS)
    statuses = [getattr(story, name).response.status_code for name in names]
    assert statuses == [201, 201, 504, 503, 503, 503]
    policies = [story.timed_out, story.dead, story.opening, story.rejected]
    assert [one.problem["policy"] for one in policies] == ["attempt_timeout", "retry", "retry", "circuit_breaker"]
    assert story.timed_out.problem["trace_id"] == story.timed_out.trace_id
    assert 0 < int(story.rejected.response.headers["retry-after"]) <= 66


def test_a_trace_has_one_root_and_no_orphan(story: Story, answer: tuple[Answer, int]) -> None:
    """One span has no parent, or the customer's; the parent of each other span is in the trace, begun before it."""
    trace = story.trace(*answer)
    root(trace, answer[0])
    began = {span.span_id: span.start for span in trace.spans}
    for span in trace.spans:
        assert span.start >= began.get(span.parent_id, 0)
        assert all(span.start <= event.time <= span.end for event in span.events)


def test_a_served_call_is_the_child_of_its_attempt(story: Story, answer: tuple[Answer, int]) -> None:
    """Each SERVER span but the root is the only child of a CLIENT span of another service, each attempt a child of
    the order's SERVER span.
    """
    trace = story.trace(*answer)
    first = root(trace, answer[0])
    by_id = {span.span_id: span for span in trace.spans}
    served = [span for span in trace.spans if span.kind == SERVER and span is not first]
    assert len({span.parent_id for span in served}) == len(served)
    for span in served:
        attempt = by_id[span.parent_id]
        assert (attempt.kind, attempt.service) == (CLIENT, "order")
        assert attempt.attributes["url.full"] == f"{story.origins[span.service]}{span.attributes['url.path']}"
    rest = [span for span in trace.spans if span.kind != SERVER]
    assert {span.parent_id for span in rest} == {first.span_id}


def test_names_are_method_and_template(story: Story, answer: tuple[Answer, int]) -> None:
    """A SERVER span is named by method and route template, a CLIENT span by its method; no name holds an id."""
    trace = story.trace(*answer)
    assert set(trace.services) <= SERVICES
    for span in trace.spans:
        assert answer[0].order_id not in span.name
        if span.kind == SERVER and "http.route" in span.attributes:
            assert (span.service, span.name) in ROUTES
            assert span.name == f"{span.attributes['http.request.method']} {span.attributes['http.route']}"
        elif span.kind == SERVER:
            assert (span.service, span.name) in UNROUTED
        elif span.kind == CLIENT:
            assert span.name == span.attributes["http.request.method"]
        else:
            assert (span.kind, span.name) == (INTERNAL, "POST rejected by circuit_breaker")


def test_a_healthy_order_is_seven_spans(story: Story) -> None:
    """All four services, three calls in order, no event, no error, nothing sent again."""
    trace = story.trace(story.healthy, 7)
    assert set(trace.services) == SERVICES
    assert [span.kind for span in trace.spans].count(CLIENT) == 3
    assert [span.status for span in trace.spans] == [0] * 7
    assert [event for span in trace.spans for event in span.events] == []
    assert all("http.request.resend_count" not in span.attributes for span in trace.spans)
    for name, method in (("inventory", "PUT"), ("payment", "POST"), ("shipping", "POST")):
        (call,) = calls(trace, story.origins[name], method)
        assert call.attributes["server.address"] == "127.0.0.1"
        assert call.attributes["server.port"] == int(story.origins[name].rpartition(":")[2])


def test_jaeger_lists_the_services_and_their_operations(story: Story) -> None:
    """The search form of Jaeger offers the services, and a handful of operations that no id gets into."""
    story.jaeger.wait(lambda: story.jaeger.services() >= SERVICES)
    for service in SERVICES:
        listed = story.jaeger.get("/api/v3/operations", service=service)["operations"]
        found = {(service, entry["name"]) for entry in listed if entry["spanKind"] == "server"}
        # the story's control requests (health, faults) are served as well
        assert found <= ROUTES | UNROUTED | {(service, "GET /healthz"), (service, "PUT")}
        assert {route for route in ROUTES if route[0] == service} <= found
        assert not [entry["name"] for entry in listed if re.search(r"[0-9a-f]{6}", entry["name"])]
