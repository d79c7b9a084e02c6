"""`handrail run`: what it sets up, what it refuses, and real servers without a line of handrail in them."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from handrail.cli.run import HOOK, environment
from handrail.tracing.local import read as local_read
from tests.shadow.processes import free_port, running

HANDRAIL = str(Path(sys.executable).with_name("handrail"))
SERVER = 2
"""SpanKind SERVER in OTLP."""

APP = """
import json, os

async def app(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    body = json.dumps({"pid": os.getpid(), "version": VERSION}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

VERSION = 1
"""


@pytest.fixture(name="service")
def make_service(tmp_path: Path) -> Path:
    """A folder with a plain ASGI app that has never heard of handrail."""
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture(name="environ")
def make_environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which the venv is not activated; spans go to a store of this test."""
    return {"PATH": os.defpath, "HOME": str(tmp_path), "HANDRAIL_TRACES_DIR": str(tmp_path / "traces")}


def handrail_run(cwd: Path, environ: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [HANDRAIL, "run", *command], cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=200
    )


def server_spans(environ: dict[str, str]) -> list[local_read.Span]:
    """Every SERVER span that reached the local store."""
    traces = local_read.read(Path(environ["HANDRAIL_TRACES_DIR"]))
    return [span for trace in traces for span in trace.spans if span.kind == SERVER]


def test_ours_goes_first_once_and_hides_nothing() -> None:
    """PYTHONPATH gets our folder in front, once however often it is run, and keeps the rest in order."""
    first = environment({"PYTHONPATH": os.pathsep.join(["/a", "/b"]), "X": "1"})
    assert first == {"PYTHONPATH": os.pathsep.join([str(HOOK), "/a", "/b"]), "X": "1"}
    assert environment(first) == first
    assert environment({})["PYTHONPATH"] == str(HOOK)


def test_becomes_the_command(service: Path, environ: dict[str, str]) -> None:
    """Arguments, output and exit code are the command's own, handrail is on, and our folder is off its path."""
    code = "import sys; print(sys.argv[1:], 'handrail.auto' in sys.modules, *sys.path, sep='\\n'); sys.exit(7)"
    done = handrail_run(service, environ, sys.executable, "-c", code, "--json", "-h", "--", "x")
    assert done.returncode == 7, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "['--json', '-h', '--', 'x']"
    assert lines[1] == "True"
    assert str(HOOK) not in lines[2:]


def test_two_dashes_before_the_command(service: Path, environ: dict[str, str]) -> None:
    """`handrail run -- COMMAND` is the same."""
    assert handrail_run(service, environ, "--", sys.executable, "-c", "print(5)").stdout == "5\n"


def test_children_are_covered(service: Path, environ: dict[str, str]) -> None:
    """A process that the command starts is protected as well."""
    child = "import sys; print('handrail.auto' in sys.modules)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert handrail_run(service, environ, sys.executable, "-c", code).stdout == "True\n"


def test_hidden_sitecustomize_still_runs(service: Path, environ: dict[str, str]) -> None:
    """The sitecustomize that ours hides is run, before us, under its own name."""
    (service / "sitecustomize.py").write_text("import sys; sys.seen = (__name__, __file__, 'handrail' in sys.modules)")
    environ["PYTHONPATH"] = str(service)
    code = "import sys, sitecustomize; print(*sys.seen, sitecustomize.__file__, 'handrail.auto' in sys.modules)"
    path = str(service / "sitecustomize.py")
    done = handrail_run(service, environ, sys.executable, "-c", code)
    assert done.stdout.split() == ["sitecustomize", path, "False", path, "True"], done.stderr


def test_failing_sitecustomize_does_not_stop_us(service: Path, environ: dict[str, str]) -> None:
    """One that raises is named on stderr, and handrail starts all the same."""
    (service / "sitecustomize.py").write_text("1 / 0")
    environ["PYTHONPATH"] = str(service)
    done = handrail_run(service, environ, sys.executable, "-c", "import sys; print('handrail.auto' in sys.modules)")
    assert done.stdout == "True\n"
    assert done.stderr.endswith("handrail: another sitecustomize failed: ZeroDivisionError: division by zero\n")


def test_interpreter_without_handrail(service: Path, environ: dict[str, str]) -> None:
    """A Python that has no handrail says so in one line and runs on."""
    environ["PYTHONPATH"] = str(HOOK)
    done = subprocess.run(
        [sys._base_executable, "-c", "print('on')"],  # type: ignore[attr-defined] # not in the stubs
        cwd=service,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.stdout == "on\n"
    assert done.stderr.startswith("handrail: not usable in ")
    assert done.stderr.endswith("this process runs without it\n")


def test_wrong_settings_start_nothing(service: Path, environ: dict[str, str]) -> None:
    """A wrong setting ends it with exit code 2 and the whole message, before the command runs."""
    environ |= {"HANDRAIL_ATTEMPTS": "0", "HANDRAIL_ATEMPTS": "1"}
    done = handrail_run(service, environ, sys.executable, "-c", "print('started')")
    assert (done.returncode, done.stdout) == (2, "")
    assert "HANDRAIL_ATTEMPTS = '0' (environment): must be" in done.stderr
    assert "did you mean HANDRAIL_ATTEMPTS?" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_settings_in_a_child_stop_the_child(service: Path, environ: dict[str, str]) -> None:
    """Settings that go wrong further down (another folder, another environment) stop that process too."""
    inner = service / "inner"
    inner.mkdir()
    (inner / "handrail.toml").write_text("attempts = 'x'")
    code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'print(1)'], cwd='inner'))"
    done = handrail_run(service, environ, sys.executable, "-c", code)
    assert (done.returncode, done.stdout) == (2, "")
    assert "attempts = 'x' (handrail.toml)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        ([], 2, "Missing argument"),
        (["no-such-command"], 127, "no command 'no-such-command' on PATH"),
        (["app.py"], 126, "write: handrail run python app.py"),
        (["./app.py"], 126, "write: handrail run python ./app.py"),
        ([sys.executable, "-I", "app.py"], 2, "python -I ignores what `handrail run` sets up"),
        ([sys.executable, "-uSE", "app.py"], 2, "python -ES ignores"),
        (["./isolated"], 2, "python -E ignores"),
        (["./no-interpreter"], 126, "cannot be run"),
    ],
)
def test_commands_that_cannot_work(
    service: Path, environ: dict[str, str], command: list[str], code: int, text: str
) -> None:
    """What cannot be run, or would run unprotected without a word, is refused with a way out."""
    for name, first in (("isolated", f"#!{sys.executable} -sE"), ("no-interpreter", "#!/no/such/thing")):
        (service / name).write_text(f"{first}\nprint('ran')\n")
        (service / name).chmod(0o755)
    done = handrail_run(service, environ, *command)
    assert done.returncode == code
    assert text in done.stderr
    assert done.stdout == ""


def test_flags_of_the_script_are_not_pythons(service: Path, environ: dict[str, str]) -> None:
    """`-E` behind the script or the module is its own business."""
    (service / "echo.py").write_text("import sys; print(sys.argv[1:])")
    for command in (["echo.py", "-E"], ["-m", "echo", "-E"], ["-Wignore:IES", "echo.py", "-E"]):
        assert handrail_run(service, environ, sys.executable, *command).stdout == "['-E']\n"


@pytest.fixture(name="port")
def make_port() -> int:
    """A port for one server."""
    return free_port()


@pytest.mark.parametrize("more", [[], ["--workers", "2"], ["--reload"], ["--loop", "asyncio"], ["--lifespan", "off"]])
def test_plain_app_under_uvicorn(service: Path, environ: dict[str, str], port: int, more: list[str]) -> None:
    """No import of handrail anywhere, venv not activated: each answered request is a SERVER span in the store."""
    command = [HANDRAIL, "run", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", str(port), *more]
    with running(command, cwd=service, port=port, environ=environ) as server:
        for _ in range(3):
            assert server.ask("/orders/1", {})["version"] == 1
        server.stop()
        output = server.output()
    spans = server_spans(environ)
    assert [span.name for span in spans] == ["GET", "GET", "GET"], output
    assert {span.service for span in spans} == {"service"}
    assert "Traceback" not in output


def test_reloaded_app_stays_protected(service: Path, environ: dict[str, str], port: int) -> None:
    """After a change of the code, the new process is protected like the first."""
    command = [HANDRAIL, "run", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", str(port), "--reload"]
    with running(command, cwd=service, port=port, environ=environ) as server:
        answers = [server.ask("/", {})]
        until = time.monotonic() + 90
        while answers[-1]["version"] == 1:
            assert time.monotonic() < until, server.output()
            if len(answers) % 40 == 1:
                # A change before the reloader's first look is part of what it takes for unchanged.
                changed = time.time() + len(answers)
                (service / "app.py").write_text(APP.replace("VERSION = 1", "VERSION = 2"))
                os.utime(service / "app.py", (changed, changed))
            with suppress(subprocess.TimeoutExpired):
                server.process.wait(0.05)
            answers.append(server.ask("/", {}))
        server.stop()
    assert answers[0]["pid"] != answers[-1]["pid"]
    assert len(server_spans(environ)) == len(answers)


def test_python_dash_m(service: Path, environ: dict[str, str], port: int) -> None:
    """`handrail run python -m uvicorn` and `python -m handrail run` are the same way in."""
    command = [sys.executable, "-m", "handrail", "run", sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
    with running(command, cwd=service, port=port, environ=environ) as server:
        server.ask("/", {})
        server.stop()
    assert len(server_spans(environ)) == 1
