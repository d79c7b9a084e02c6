"""How whole traces look in the real Jaeger: threads and background work, a stream, a websocket, a spent deadline."""

import pytest

from handrail.tracing.local.read import Span, Trace
from tests.jaeger.shapes import Shapes
from tests.jaeger.story import ERROR, UNSET, read

pytestmark = [pytest.mark.jaeger, pytest.mark.xdist_group("shapes")]

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}


def drawn(trace: Trace) -> list[str]:
    """The tree as text, children in order of their start: service, kind, name."""
    ids = {span.span_id for span in trace.spans}
    lines: list[str] = []

    def draw(parent: str, depth: int) -> None:
        for span in trace.spans:
            if span.parent_id == parent or (depth == 0 and span.parent_id not in ids):
                lines.append(f"{'  ' * depth}{span.service} {KINDS[span.kind]} {span.name}")
                draw(span.span_id, depth + 1)

    draw("", 0)
    return lines


def find(trace: Trace, name: str) -> Span:
    """The only span of that name."""
    (found,) = [span for span in trace.spans if span.name == name]
    return found


def test_an_order_with_thread_queue_and_background(shapes: Shapes) -> None:
    """A call in the coroutine, one in a pool's thread, a job of a queue, and work after the answer with a call of
    its own: each below what started it; the request's time is without the background work.
    """
    trace = read(shapes.jaeger, shapes.order, 9)
    assert sorted(drawn(trace)) == sorted(
        [
            "front SERVER GET /orders/{number}",
            "  front CLIENT GET",
            "    stock SERVER GET /stock/{number}",
            "  front CLIENT GET",
            "    pay SERVER GET",
            "  front CONSUMER pack",
            "  front INTERNAL background tests.volume.front.mail",
            "    front CLIENT POST",
            "      mail SERVER POST /mail/{number}",
        ]
    )
    order, background = find(trace, "GET /orders/{number}"), find(trace, "background tests.volume.front.mail")
    assert order.end <= background.start
    assert {span.status for span in trace.spans} == {UNSET}


def test_a_stream_lasts_to_its_last_byte(shapes: Shapes) -> None:
    """Calls made while the body is streamed are below the request, and within its time."""
    trace = read(shapes.jaeger, shapes.stream, 7)
    assert drawn(trace) == ["front SERVER GET /stream/{number}", *["  front CLIENT GET", "    pay SERVER GET"] * 3]
    first = trace.spans[0]
    assert all(first.start <= span.start and span.end <= first.end for span in trace.spans if span.service == "front")


def test_a_websocket_is_one_span(shapes: Shapes) -> None:
    """One SERVER span for the connection's life; what happened are events; no span per message."""
    trace = read(shapes.jaeger, shapes.live, 5)
    assert drawn(trace) == [
        "front SERVER WS /live/{number}",
        *["  front CLIENT GET", "    stock SERVER GET /stock/{number}"] * 2,
    ]
    socket = trace.spans[0]
    names = [event.name for event in socket.events if event.name.startswith("handrail.websocket.")]
    assert names == ["handrail.websocket.accepted", "handrail.websocket.closed"]
    assert socket.attributes["handrail.websocket.close_code"] == 1000
    assert socket.attributes["handrail.websocket.closed_by"] == "server"
    assert socket.attributes["http.response.status_code"] == 101
    assert socket.status == UNSET


def test_a_spent_deadline_says_so(shapes: Shapes) -> None:
    """The call that met the deadline is an ERROR of type timeout, the request has the decision and its 504."""
    trace = read(shapes.jaeger, shapes.late, 3)
    request = find(trace, "GET /late/{number}")
    (call,) = [span for span in trace.spans if KINDS[span.kind] == "CLIENT"]
    assert (call.status, call.attributes["error.type"]) == (ERROR, "timeout")
    (told,) = [event for event in request.events if event.name == "handrail.timeout"]
    assert told.attributes["handrail.policy"] == "total_timeout"
    assert (request.status, request.attributes["http.response.status_code"]) == (ERROR, 504)


def test_a_held_event_loop_names_who_held_it(shapes: Shapes) -> None:
    """The request whose code held the loop has an event with the seconds, the place and the stack."""
    (request,) = read(shapes.jaeger, shapes.held, 1).spans
    (told,) = [event for event in request.events if event.name == "handrail.event_loop.blocked"]
    assert float(str(told.attributes["handrail.event_loop.blocked.duration"])) >= 0.1
    assert told.attributes["code.function.name"] == "tests.volume.front.held"
    assert "in held" in str(told.attributes["code.stacktrace"])
