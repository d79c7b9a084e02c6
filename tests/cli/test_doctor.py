"""What `handrail doctor` finds, and what it looks like."""

import http.server
import io
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import ModuleType

import grpc  # type: ignore[import-untyped]  # it has no stubs
import pytest
from click.testing import CliRunner
from rich.console import Console

from handrail.cli import _installed, _probe, main
from handrail.cli._doctor_view import show
from handrail.cli._findings import Finding
from handrail.cli._report import Report, gather


def found(report: Report) -> dict[str, Finding]:
    """The findings by id, the last of each."""
    return {finding.id: finding for finding in report.findings}


@contextmanager
def collector(status: int) -> Iterator[tuple[int, list[tuple[str, dict[str, str]]]]]:
    """A server that answers every export with one status; gives its port and what it was sent."""
    requests: list[tuple[str, dict[str, str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port, requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other processes of this user have lost is none of these tests' business."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_collector_that_takes_spans(tmp_path: Path) -> None:
    """A collector is asked with an export that holds no span, at the exporter's own path and with its headers."""
    with collector(200) as (port, requests):
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x",
        }
        report = gather(environ, tmp_path)
    assert not report.failed
    ((path, headers),) = requests
    assert path == "/v1/traces"
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["authorization"] == "Bearer x"


@pytest.mark.parametrize(("status", "hint"), [(404, "/v1/traces"), (405, "4318"), (401, "HEADERS"), (500, "log")])
def test_collector_that_refuses(tmp_path: Path, status: int, hint: str) -> None:
    """Any other answer is an error that says which, and what is probably meant."""
    with collector(status) as (port, _):
        report = gather({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}, tmp_path)
    finding = found(report)["HR010"]
    assert f"answers {status}" in finding.what
    assert hint in finding.mend
    assert report.failed


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_collector_that_is_not_there(tmp_path: Path, protocol: str) -> None:
    """Nobody listens: an error with the address, without what is secret in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:hush-hush@127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hush-hush",
    }
    report = gather(environ, tmp_path)
    finding = found(report)["HR010"]
    assert finding.what == "the collector does not take spans: Connection refused"
    assert f"127.0.0.1:{port}" in finding.where
    assert "hush-hush" not in str(report.as_json())


def test_collector_that_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that never answers is given up on within a bound."""
    monkeypatch.setattr(_probe, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        report = gather({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}, tmp_path)
    assert found(report)["HR010"].what == "the collector does not take spans: no answer in 0.05 s"


def test_grpc_collector_that_listens(tmp_path: Path) -> None:
    """For gRPC an open port is enough."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        assert not gather(environ, tmp_path).failed


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("PRIORITY_ROUTES", "/checkout=critical_plus,/reports/*=sheddable", "/checkout=critical_plus, /reports/*=shed"),
        ("ROUTE_SAMPLING", "/search=0.1", "/search=0.1"),
    ],
)
def test_settings_by_path_are_shown_as_they_are_written(tmp_path: Path, name: str, value: str, shown: str) -> None:
    """A word for each path as well as a number for each."""
    out = io.StringIO()
    show(gather({f"HANDRAIL_{name}": value}, tmp_path), Console(file=out))
    assert shown in next(line for line in out.getvalue().splitlines() if line.lstrip().startswith(name.lower()))


def test_local_store_that_cannot_be(tmp_path: Path) -> None:
    """A file where the store should be is an error that names the setting to change."""
    (tmp_path / "file").touch()
    report = gather({"HANDRAIL_TRACES_DIR": str(tmp_path / "file" / "traces")}, tmp_path)
    finding = found(report)["HR011"]
    assert "is not a folder" in finding.what
    assert "HANDRAIL_TRACES_DIR" in finding.mend


def test_local_store_is_only_looked_at(tmp_path: Path) -> None:
    """Doctor leaves nothing behind: no store, no file."""
    report = gather({"HANDRAIL_TRACES_DIR": str(tmp_path / "a" / "b")}, tmp_path)
    assert "HR013" in found(report)
    assert list(tmp_path.iterdir()) == []


def test_disk_smaller_than_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that may outgrow the disk is a warning."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    finding = found(gather({"HANDRAIL_TRACES_DIR": str(tmp_path)}, tmp_path))["HR014"]
    assert finding.what == "the disk has 1 MiB left, the local store may take 64 MiB"


@pytest.mark.parametrize("environ", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_tracing_switched_off(tmp_path: Path, environ: dict[str, str]) -> None:
    """Tracing that is off is said, with the variable that did it, and no collector is asked."""
    finding = found(gather(environ, tmp_path))["HR012"]
    assert finding.where in environ


def test_two_files_and_the_switch(tmp_path: Path) -> None:
    """Settings in two files, and a handrail that is off, are warnings; no pipeline is claimed."""
    (tmp_path / "handrail.toml").write_text("enabled = false")
    (tmp_path / "pyproject.toml").write_text("[tool.handrail]\nattempts = 1")
    report = gather({}, tmp_path)
    assert {"HR002", "HR003"} <= set(found(report))
    assert report.policies == ()
    assert not report.failed


def test_broken_pyproject(tmp_path: Path) -> None:
    """A pyproject.toml that cannot be read is mentioned, with the place."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = = 1")
    assert "line 2" in found(gather({}, tmp_path))["HR004"].what


def test_names_that_hide_modules(tmp_path: Path) -> None:
    """A file of the service named like a module that we need is an error; like the standard library's, a warning."""
    (tmp_path / "tenacity.py").touch()
    (tmp_path / "queue.py").touch()
    (tmp_path / "httpx").mkdir()
    (tmp_path / "tracing.py").touch()
    (tmp_path / "resilience").mkdir()
    (tmp_path / "resilience" / "__init__.py").touch()
    shadows = [(f.id, Path(f.where).name) for f in gather({}, tmp_path).findings if f.id in {"HR030", "HR031"}]
    assert shadows == [("HR030", "tenacity.py"), ("HR031", "queue.py")]


def test_what_the_service_imports(tmp_path: Path) -> None:
    """Retries of its own and clients that are not protected are found with file and line, tests and venvs aside."""
    (tmp_path / "app.py").write_text("import os\n\n    from tenacity import retry\nimport httplib2.socks\n")
    (tmp_path / "later.py").write_text("import tenacity, httplib2x\n# import pycurl\n")
    for other in ("tests", "env", ".hidden"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "x.py").write_text("import pycurl")
    (tmp_path / "env" / "pyvenv.cfg").touch()
    imports = {f.id: f.where for f in gather({}, tmp_path).findings if f.id in {"HR023", "HR042"}}
    assert imports == {"HR023": "app.py:3", "HR042": "app.py:4"}


def test_other_tracer_on_the_path(tmp_path: Path) -> None:
    """A launcher that is already active in the environment is named."""
    path = "/x/opentelemetry/instrumentation/auto_instrumentation"
    report = gather({"PYTHONPATH": path + os.pathsep + "/y"}, tmp_path)
    assert found(report)["HR020"].what.startswith("opentelemetry-instrument is active")
    assert ("opentelemetry-instrument", "active") in [(other.name, other.state) for other in report.others]


def test_several_distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions compete for opentelemetry-instrument, unless the environment names ours."""
    entries = [metadata.EntryPoint(name, "x:y", "opentelemetry_distro") for name in ("distro", "handrail")]
    monkeypatch.setattr(_installed, "_entries", lambda group: entries if group == "opentelemetry_distro" else [])
    assert "distro, handrail" in found(gather({}, tmp_path))["HR022"].what
    assert "HR022" not in found(gather({"OTEL_PYTHON_DISTRO": "handrail"}, tmp_path))


def test_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library outside its range, or missing, is an error; other tracers are noted; no client is a warning."""
    known = {"tenacity": "8.0", "pybreaker": None, "sentry-sdk": "2.0"}
    known |= dict.fromkeys(_installed.CLIENTS)
    real = _installed._version
    monkeypatch.setattr(_installed, "_version", lambda name: known[name] if name in known else real(name))
    report = gather({}, tmp_path)
    wrong = [finding.what for finding in report.findings if finding.id == "HR040"]
    assert [line.partition(";")[0] for line in wrong] == ["pybreaker is missing", "tenacity is 8.0"]
    assert found(report)["HR021"].what.startswith("sentry-sdk 2.0 is installed")
    assert found(report)["HR041"].mend == "pip install httpx"
    assert "  pybreaker missing" in "\n".join(view(report, 80, terminal=True))


def test_no_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in a folder without write permission is an error before the first span is lost."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    finding = found(gather({"HANDRAIL_TRACES_DIR": str(tmp_path)}, tmp_path))["HR011"]
    assert finding.what == f"the local store cannot be written: no right to write in {tmp_path}"


def test_port_that_speaks_no_http(tmp_path: Path) -> None:
    """Something else on the collector's port is told from a collector that is down."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1024)
                peer.sendall(b"-ERR unknown command\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        report = gather({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}, tmp_path)
        thread.join()
    assert found(report)["HR010"].what.endswith("what answers does not speak HTTP")


def test_port_that_speaks_grpc(tmp_path: Path) -> None:
    """HTTP sent to a gRPC port: the mend names the other protocol, and not only a collector that is down."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        report = gather({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}, tmp_path)
    finally:
        server.stop(None).wait()
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in found(report)["HR010"].mend


def test_port_that_hangs_up(tmp_path: Path) -> None:
    """Some gRPC servers close the connection without a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        report = gather({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}, tmp_path)
        thread.join()
    finding = found(report)["HR010"]
    assert finding.what.endswith("the connection was closed without an answer")
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in finding.mend


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"HANDRAIL_ENABLED": "false"}, {"HR003"}),
        ({"HANDRAIL_ENABLED": "false", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, {"HR003"}),
        ({"HANDRAIL_TRACES_DIR": "/dev/null/x"}, {"HR011"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:34318"}, {"HR001"}),
        ({"OTEL_TRACES_EXPORTER": "oltp"}, {"HR001"}),
    ],
)
def test_findings_do_not_contradict_each_other(tmp_path: Path, environ: dict[str, str], said: set[str]) -> None:
    """Where spans go is told only where it is known, and they go anywhere."""
    report = gather(environ, tmp_path)
    about = {"HR001", "HR003", "HR010", "HR011", "HR013"}
    assert about & set(found(report)) == said
    shown = "\n".join(view(report, 100, terminal=True))
    assert "reachable" not in shown
    assert "localhost:4318" not in shown.replace("such as http://localhost:4318", "")


def test_a_wrong_setting_says_what_is_allowed(tmp_path: Path) -> None:
    """The mend is the allowed value; name and value are those that were written."""
    finding = found(gather({"HANDRAIL_ATTEMPTS": "0"}, tmp_path))["HR001"]
    assert finding.what == "HANDRAIL_ATTEMPTS = '0' cannot be used: the service does not start with it"
    assert (finding.where, finding.mend) == ("environment", "must be a whole number from 1 (no retries) to 20")
    off = found(gather({"HANDRAIL_ATTEMPTS": "0", "HANDRAIL_ENABLED": "0"}, tmp_path))["HR001"]
    assert off.what == "HANDRAIL_ATTEMPTS = '0' cannot be used"


def test_every_client_of_an_import(tmp_path: Path) -> None:
    """`import pycurl, httplib2 as h` names both; those that are guarded are not named."""
    (tmp_path / "app.py").write_text(
        "import pycurl, httplib2 as h\nfrom curl_cffi.requests import (\n  get)\nimport aiohttp, requests\n"
    )
    found = [(f.what.split()[0], f.where) for f in gather({}, tmp_path).findings if f.id == "HR042"]
    assert found == [("curl_cffi", "app.py:2"), ("httplib2", "app.py:1"), ("pycurl", "app.py:1")]


def test_worst_comes_first(tmp_path: Path) -> None:
    """Errors stand before warnings, warnings before notes."""
    (tmp_path / "queue.py").touch()
    report = gather({"HANDRAIL_ATTEMPTS": "0"}, tmp_path)
    assert [finding.severity for finding in report.findings] == ["error", "warning", "info"]
    assert report.policies == ()


def view(report: Report, width: int, *, terminal: bool) -> list[str]:
    """The lines that a terminal of that width, or a pipe, would get."""
    out = io.StringIO()
    show(report, Console(file=out, width=width, force_terminal=terminal, color_system=None, highlight=False))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_fits_the_terminal(tmp_path: Path, width: int) -> None:
    """No line is wider than the terminal, and the count comes last."""
    (tmp_path / "queue.py").touch()
    lines = view(gather({"HANDRAIL_ATTEMPTS": "0"}, tmp_path), width, terminal=True)
    assert max(len(line.rstrip()) for line in lines) <= width
    assert lines[-1] == "1 error, 1 warning, 1 info"


def test_whole_lines_in_a_pipe(tmp_path: Path) -> None:
    """In a pipe nothing is wrapped or padded: grep finds the value and its origin on one line."""
    lines = view(gather({"HANDRAIL_ATTEMPT_TIMEOUT": "4"}, tmp_path), 40, terminal=False)
    assert any(line.split()[:3] == ["attempt_timeout", "4", "s"] for line in lines)
    assert any(line.endswith("environment HANDRAIL_ATTEMPT_TIMEOUT") for line in lines)
    assert [line for line in lines if line != line.rstrip()] == []


def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 where nothing is wrong, 1 for an error, 2 for wrong usage."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(main, ["doctor"]).exit_code == 0
    assert runner.invoke(main, ["doctor"], env={"HANDRAIL_ATTEMPTS": "x"}).exit_code == 1
    assert runner.invoke(main, ["doctor", "--jsn"]).exit_code == 2


def test_who_else_instruments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named with the place in the code, what handrail does about each; an installed package without a place."""
    real = _installed._version
    monkeypatch.setattr(_installed, "_version", lambda name: "5.2" if name == "logfire" else real(name))
    source = "import os\nimport logfire\nfrom opentelemetry.instrumentation.fastapi import FastAPIInstrumentor\n"
    (tmp_path / "app.py").write_text(source + "from opentelemetry.instrumentation import httpx\n")
    report = gather({}, tmp_path)
    told = {other.name: (other.state, other.where) for other in report.others}
    assert told["logfire"] == ("used", "app.py:2")
    assert told["opentelemetry-instrumentation-fastapi"] == ("used", "app.py:3")
    assert told["opentelemetry-instrumentation-httpx"] == ("used", "app.py:4")
    assert told["opentelemetry-instrumentation-asgi"] == ("installed", "")
    assert all(other.does for other in report.others)
    finding = found(report)["HR021"]
    assert (finding.where, finding.severity) == ("app.py:2", "info")
    shown = "\n".join(view(report, 100, terminal=True))
    assert "logfire 5.2 (app.py:2)" in shown
    assert "no second span of a request" in shown


def test_a_tracer_that_is_started_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a .pth file or sitecustomize imports into every process is active."""
    real = _installed._version
    monkeypatch.setattr(_installed, "_version", lambda name: "3.0" if name == "ddtrace" else real(name))
    monkeypatch.setitem(sys.modules, "ddtrace", ModuleType("ddtrace"))
    (state,) = [other.state for other in gather({}, tmp_path).others if other.name == "ddtrace"]
    assert state == "active"
