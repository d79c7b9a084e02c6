"""`handrail traces` from the outside: what it prints, what it takes, how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import Link, SpanContext, StatusCode, set_span_in_context

from handrail.cli import main
from handrail.cli._follow import Follower
from handrail.tracing.local.store import LocalSpanExporter


def _write(
    folder: Path,
    service: str,
    name: str,
    *,
    start: int,
    parent: ReadableSpan | None = None,
    link: SpanContext | None = None,
) -> ReadableSpan:
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    context = set_span_in_context(parent) if parent is not None else None  # type: ignore[arg-type]  # an SDK span is both
    links = [Link(link)] if link is not None else None
    span = provider.get_tracer("test").start_span(name, context, start_time=start, links=links)
    if name == "bad":
        span.set_status(StatusCode.ERROR)
    span.end(start + 1000)
    assert isinstance(span, ReadableSpan)
    exporter = LocalSpanExporter(folder, max_bytes=1 << 20)
    exporter.export([span])
    exporter.shutdown()
    return span


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["traces", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for number, name in enumerate(("one", "two", "bad", "four")):
        _write(tmp_path, f"svc-{name}", name, start=10**18 + number * 10**9)
    return tmp_path


def test_the_newest_last(store: Path) -> None:
    """Three traces by default, the newest next to the prompt."""
    code, out, _ = _run("--dir", str(store))
    assert code == 0
    assert "one" not in out
    assert out.index("two") < out.index("bad") < out.index("four")


@pytest.mark.parametrize(("options", "shown"), [
    (["-n", "1"], {"four"}), (["-n", "9"], {"one", "two", "bad", "four"}),
    (["-s", "svc-two"], {"two"}), (["-e"], {"bad"}),
])  # fmt: skip
def test_choosing(store: Path, options: list[str], shown: set[str]) -> None:
    """By number, by service, by error."""
    _, out, _ = _run("--dir", str(store), *options)
    assert {name for name in ("one", "two", "bad", "four") if f"svc-{name}" in out} == shown


def test_by_id(store: Path) -> None:
    """A trace id, or the beginning of one, in either case; what is not hexadecimal is wrong usage."""
    span = _write(store, "svc-mine", "mine", start=1)
    assert span.context is not None
    identity = f"{span.context.trace_id:032X}"
    code, out, _ = _run(identity[:16], "--dir", str(store))
    assert (code, out.count("trace ")) == (0, 1)
    assert identity.lower() in out
    assert _run("nothex", "--dir", str(store))[0] == 2


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 and a line on stderr that says where it looked, and where spans go instead."""
    code, out, err = _run("--dir", str(tmp_path / "none"))
    assert (code, out) == (1, "")
    assert str(tmp_path / "none") in err
    monkeypatch.setenv("HANDRAIL_TRACES_DIR", str(tmp_path))
    assert "some seconds after a request" in _run()[2]
    monkeypatch.setenv("HANDRAIL_TRACES_DIR", str(tmp_path / "none"))
    assert f"{tmp_path / 'none'} does not exist" in _run()[2]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert "http://collector:4318/v1/traces instead" in _run()[2]


def test_nothing_that_fits(store: Path) -> None:
    """Where the store has traces, the answer says what was asked for and not how traces come about."""
    code, out, err = _run("--dir", str(store), "fee1dead", "-s", "pay", "-e")
    assert (code, out) == (1, "")
    assert err == (
        f"no trace whose id begins with fee1dead and that service 'pay' took part in and with an error in {store}\n"
    )


def test_spans_that_go_elsewhere_now(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old traces are said to be old where new spans go to a collector; with --json on stderr."""
    monkeypatch.setenv("HANDRAIL_TRACES_DIR", str(store))
    assert "older" not in "".join(map(str, _run()))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:pass@collector:4318")
    said = "new spans go to http://collector:4318/v1/traces; these are older"
    assert _run()[1].rstrip().endswith(said)
    _, out, err = _run("--json")
    assert said not in out
    assert err == said + "\n"
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert "new spans go to nowhere (OTEL_SDK_DISABLED)" in _run("--json")[2]
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    assert _run("fee1dead")[2].rstrip().endswith(f"in {store}; new spans go to http://collector:4318/v1/traces")


@pytest.mark.parametrize("options", [["-n", "400"], ["-n", "400", "--json"]])
def test_a_reader_that_leaves(tmp_path: Path, options: list[str]) -> None:
    """`| head` is no error: nothing on stderr, exit code 0."""
    for number in range(400):
        _write(tmp_path, "a", "one" * 20, start=10**18 + number)
    command = [sys.executable, "-c", "from handrail.cli import main; main()", "traces", "--dir", str(tmp_path)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_links_between_traces(tmp_path: Path) -> None:
    """A trace that was put off says whose it is, the sender's says what continues it; a link alone is no trace."""
    sender = _write(tmp_path, "shop", "order", start=10**18)
    _write(tmp_path, "shop", "later", start=10**18 + 5)
    assert sender.context is not None
    receipt = _write(tmp_path, "worker", "send receipt", start=10**18 + 10, link=sender.context)
    assert receipt.context is not None
    identity, other = f"{sender.context.trace_id:032x}", f"{receipt.context.trace_id:032x}"
    out = _run("--dir", str(tmp_path), identity[:9])[1]
    assert out.rstrip().endswith(f'⇢ trace {other} INTERNAL "send receipt" continues it')
    assert f"⇠ linked from trace {identity[:12]}…" in _run("--dir", str(tmp_path), other)[1]
    out = _run("--dir", str(tmp_path))[1]  # the link does not make the sender's trace a new one
    assert out.index(f"trace {identity}") < out.index("later") < out.index(f"trace {other}  2")


def test_json_is_otlp(store: Path) -> None:
    """One document for each trace, the newest last: the joined trace as Jaeger's upload takes it."""
    parent = _write(store, "a", "outer", start=2 * 10**18)
    _write(store, "b", "inner", start=2 * 10**18 + 10, parent=parent)
    code, out, _ = _run("--dir", str(store), "--json", "-n", "2")
    assert code == 0
    documents = [json.loads(line) for line in out.splitlines()]
    assert len(documents) == 2
    spans = [span for part in documents[1]["resourceSpans"] for scope in part["scopeSpans"] for span in scope["spans"]]
    assert [span["name"] for span in spans] == ["outer", "inner"]


def test_a_pipe_gets_plain_text(store: Path) -> None:
    """No escape codes where nobody sees colours, and a width that does not crop."""
    environ = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
    command = [sys.executable, "-c", "from handrail.cli import main; main()", "traces", "--dir", str(store)]
    out = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) > 100


def test_follow_waits_for_the_whole_trace(tmp_path: Path) -> None:
    """A new trace comes once, a second after its last span; what was there before does not come."""
    time = [0.0]
    _write(tmp_path, "old", "old", start=1)
    follower = Follower(tmp_path, now=lambda: time[0])
    parent = _write(tmp_path, "a", "outer", start=10)
    assert follower.poll() == []
    time[0] = 0.9
    _write(tmp_path, "b", "inner", start=20, parent=parent)
    assert follower.poll() == []
    time[0] = 1.5
    assert follower.poll() == []
    time[0] = 2.0
    (trace,) = follower.poll()
    assert [span.name for span in trace.spans] == ["outer", "inner"]
    time[0] = 3.0
    assert follower.poll() == []


def test_follow_with_a_parent_that_comes_late(tmp_path: Path) -> None:
    """Two spans without their parent: the first service may export later, so it is waited for, but not for ever."""
    time = [0.0]
    parent = _write(tmp_path / "elsewhere", "a", "outer", start=10)
    store = tmp_path / "store"
    store.mkdir()
    follower = Follower(store, now=lambda: time[0])
    for name in ("x", "y"):
        _write(store, "b", name, start=20, parent=parent)
    follower.poll()
    time[0] = 5.0
    assert follower.poll() == []
    time[0] = 10.0
    assert len(follower.poll()) == 1


def test_follow_reads_whole_lines(tmp_path: Path) -> None:
    """A line that is still being written is left for the next time."""
    time = [0.0]
    follower = Follower(tmp_path, now=lambda: time[0])
    _write(tmp_path, "a", "late", start=10)
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    file.write_bytes(data[:100])
    follower.poll()
    with file.open("ab") as rest:
        rest.write(data[100:])
    follower.poll()
    time[0] = 1.0
    assert [trace.spans[0].name for trace in follower.poll()] == ["late"]
