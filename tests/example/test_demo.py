"""The demo and its parts, on stories shorter than the real one."""

import io
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from examples.order_service import collector, thousand
from examples.order_service.books import Books
from examples.order_service.recorded import Recorded, showcase, tally
from examples.order_service.report import table
from examples.order_service.scenario import PHASES
from handrail.tracing.local.read import Event, Span, Trace

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, "-m", "examples.order_service.demo"]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=200)


def row(output: str, label: str) -> list[str]:
    line = next(line for line in output.splitlines() if line.startswith(f"│ {label}"))
    return [cell.strip() for cell in line.split("│")[2:4]]


def test_the_demo_ends_with_a_table_and_a_trace() -> None:
    """With handrail nothing is lost, without orders are; the exit code says so, and a retried payment is shown."""
    done = demo("--pace", "0.25")
    assert done.returncode == 0, done.stdout + done.stderr
    guarded, plain = row(done.stdout, "orders")
    assert guarded == plain
    assert row(done.stdout, "lost")[0] == "0"
    assert int(row(done.stdout, "lost")[1]) > 0
    assert row(done.stdout, "charged twice") == ["0", "0"]
    assert int(row(done.stdout, "retries")[0]) > 0
    assert "One order whose payment was sent again" in done.stdout
    assert "retry 1" in done.stdout


@pytest.mark.parametrize("arguments", [("--rate", "0"), ("--rate", "1000"), ("--pace", "0"), ("--pace", "9")])
def test_the_demo_is_bounded(arguments: tuple[str, str]) -> None:
    """Rates and lengths that would run for ever or flood the machine are refused."""
    done = demo(*arguments)
    assert (done.returncode, "must be above 0" in done.stderr) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_and_its_services(number: signal.Signals) -> None:
    """Ctrl-C in the middle: exit code 130, and nothing that was started runs on."""
    with subprocess.Popen(DEMO, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        while "healthy" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        rest = process.stdout.read()
    assert (process.returncode, "all services have ended" in rest) == (130, True)
    group = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True)
    assert group.stdout == ""


def test_orders_at_fifty_a_second_while_payment_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """The run of 1,000 orders, cut to 100: none lost, none charged twice, some retried. `.ci/run` plays it whole."""
    sys.argv[1:], rest = ["--count", "100"], sys.argv[1:]
    try:
        with pytest.raises(SystemExit) as ended:
            thousand.main()
    finally:
        sys.argv[1:] = rest
    printed = capsys.readouterr().out
    assert ended.value.code == 0, printed
    assert "100 orders" in printed
    assert "0 lost, 0 charged twice" in printed


def test_the_story_fits_into_a_minute() -> None:
    """Twice the story, and the start of services, stay under two minutes."""
    assert 2 * sum(phase.seconds for phase in PHASES) <= 60
    assert [bool(phase.payment or phase.down) for phase in PHASES] == [False, True, True, True, False]


# what the traces tell


def span(name: str, kind: int, service: str, attributes: Mapping[str, object], *events: Event) -> Span:
    return Span("t", name, "", service, name, kind, 0, 1, attributes, events, 0, "")


def event(name: str, **attributes: object) -> Event:
    return Event(f"handrail.{name}", 0, {f"handrail.circuit_breaker.{key}": value for key, value in attributes.items()})


def order_trace(trace_id: str, charges: int, status: int) -> Trace:
    root = span("root", 2, "order", {"http.response.status_code": status})
    charge = span("charge", 3, "order", {"url.full": "http://127.0.0.1:1/charges"})
    return Trace(trace_id, (root, *[charge] * charges), ())


def test_retries_and_openings_are_counted_from_events() -> None:
    """Every scheduled retry counts, and every change of a breaker to open; other changes do not."""
    changed = "circuit_breaker.changed"
    one = span("a", 3, "order", {}, event("retry.scheduled"), event(changed, to="open"), event(changed, to="half_open"))
    two = span("b", 3, "order", {}, event("retry.scheduled"), event("retry.exhausted"))
    assert tally([Trace("x", (one, two), ()), Trace("y", (one,), ())]) == Recorded(retries=3, openings=2)


def test_the_trace_that_is_shown_was_placed_by_a_retry() -> None:
    """Of all orders that were placed after several charges the one with most; none where there is none."""
    plain, failed = order_trace("plain", 1, 201), order_trace("failed", 4, 503)
    retried, again = order_trace("retried", 2, 201), order_trace("again", 3, 201)
    assert showcase([plain, failed, retried, again]) is again
    assert showcase([plain, failed]) is None


def test_the_table_puts_both_runs_side_by_side() -> None:
    """A row for each measure, a column for each run."""
    guarded = Books(10, 8, 2, 1, {}, [], 0.0123, 0.4)
    plain = Books(10, 6, 1, 1, {"a": "a bare 500"}, ["b"], 0.01, 0.02)
    console = Console(file=io.StringIO(), width=100)
    console.print(table({"with handrail": (guarded, Recorded(5, 1)), "without": (plain, Recorded())}))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    expected = {
        "orders": ["10", "10"],
        "placed": ["8", "6"],
        "refused with a clear answer": ["2", "1"],
        "  of these: bad card, no stock": ["1", "1"],
        "lost": ["0", "1"],
        "charged twice": ["0", "1"],
        "p50 / p99 ms": ["12 / 400", "10 / 20"],
        "retries": ["5", "0"],
        "breaker openings": ["1", "0"],
    }
    assert {label: row(text, label) for label in expected} == expected


# where spans go


def test_a_collector_that_is_set_gets_the_spans() -> None:
    """All OTEL_EXPORTER_OTLP_* variables go on to the services; the trace's address is on the same host."""
    wanted = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://traces.example:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    found = collector.find({**wanted, "OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_HEADERS": ""})
    assert found is not None
    assert found.environ == wanted
    assert found.trace_url("abc") == "http://traces.example:16686/trace/abc"


def test_a_jaeger_on_its_usual_ports_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both its receiver and its UI must listen; either alone is something else."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(collector, "OTLP_PORT", one.getsockname()[1])
        monkeypatch.setattr(collector, "UI_PORT", other.getsockname()[1])
        found = collector.find({})
        other.close()
        assert collector.find({}) is None
    assert found is not None
    assert found.environ == {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.OTLP_PORT}"}
