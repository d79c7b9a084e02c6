"""What the warning advises, by what the loop is held with."""

import sys
import sysconfig
import types

import pytest

from handrail.tracing.blocked import _stack as _blocked_stack


@pytest.mark.parametrize(
    ("line", "modules", "advice"),
    [
        ("time.sleep(1)", (), "asyncio.sleep"),
        ("sleep(0.5)", (), "asyncio.sleep"),
        ("r = requests.get(url)", ("socket", "urllib3", "requests"), "httpx.AsyncClient"),
        ("client.get(url)", ("socket", "httpx"), "httpx.AsyncClient"),
        ("async with httpx.AsyncClient() as client:", ("ssl", "httpx"), "make the client once"),
        ("r = await client.get(url)", ("ssl", "httpx"), "just before it"),
        ("subprocess.run(command)", ("subprocess",), "create_subprocess_exec"),
        ("rows = connection.execute(query)", ("sqlite3",), "asyncio.to_thread"),
        ("", (), "asyncio.to_thread"),
    ],
)
def test_advice_fits_the_call(line: str, modules: tuple[str, ...], advice: str):
    """Each common mistake of generated code gets the remedy for it, anything else the thread."""
    assert advice in _blocked_stack._advice(line, frozenset(modules))


def test_the_place_is_the_services_own_code():
    """Frames of the standard library, of installed packages and of handrail are passed over."""
    found = _blocked_stack.place(_blocked_stack.frames(_here()))
    assert (found.path, found.function) == (__file__, f"{__name__}.test_the_place_is_the_services_own_code")
    found.read()
    assert found.line == "found = _blocked_stack.place(_blocked_stack.frames(_here()))"


def test_the_command_of_a_server_is_not_the_services_code():
    """Where nothing of the service runs, the server's library is named and not the script that started it."""
    frames: list[types.FrameType] = []
    server = {"__name__": "server.loop", "frames": frames, "sys": sys}
    exec(compile("def turn():\n    frames.append(sys._getframe())", "/v/site-packages/server.py", "exec"), server)
    script = {"__name__": "__main__", "turn": server["turn"], "frames": frames, "sys": sys}
    path = sysconfig.get_path("scripts") + "/server"
    exec(compile("frames.append(sys._getframe())\nturn()", path, "exec"), script)
    assert _blocked_stack.place(frames[::-1]).function == "server.loop.turn"


def test_without_own_code_the_library_is_named():
    """A hold within a library that no code of the service called is told at the library's innermost frame."""
    frames: list[types.FrameType] = []
    library = {"__name__": "somelib.io", "frames": frames, "sys": sys}
    path = "/srv/lib/python3/site-packages/somelib/io.py"
    exec(compile("def read():\n    frames.append(sys._getframe())", path, "exec"), library)
    library["read"]()  # type: ignore[operator] # made in the line above
    found = _blocked_stack.place(frames)
    assert (found.path, found.number, found.function) == (path, 2, "somelib.io.read")
    found.read()  # a file that is not there
    assert found.line == ""


def _here() -> int:
    import threading

    return threading.get_ident()


def test_the_line_is_told_without_its_secrets(tmp_path):
    """The source line stands in the log and is no place for a password; the advice fits all the same."""
    source = tmp_path / "app.py"
    source.write_text('time.sleep(1) or connect("https://u:sesame1@h/?token=sesame2", password="sesame3")\n', "utf-8")
    place = _blocked_stack.Place(path=str(source), number=1, function="f", stack="", inner=frozenset())
    place.read()
    assert place.line.startswith("time.sleep(1) or connect(")
    assert "sesame" not in place.line
    assert "asyncio.sleep" in place.advice
