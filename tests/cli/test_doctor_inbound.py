"""What `handrail doctor` says of the layers around an application."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail import _wire
from handrail._layers import layers
from handrail.cli import _inbound
from handrail.settings import Overrides, load

CLASSES = {
    "SERVER span": "ServerSpans",
    "Health": "Health",
    "Drain": "Draining",
    "Limits": "Limits",
    "LoadShedding": "LoadShedding",
    "Streams": "StreamLimit",
    "Deadline": "Deadlines",
    "ProblemDetails": "ProblemDetails",
    "Chaos": "Faults",
    "SingleFlight": "SingleFlight",
    "KeptAnswers": "Replaying",
}


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    _wire.switch_off()
    yield
    _wire.switch_off()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An application that is never called."""


def around(process: _wire.Process) -> list[str]:
    """The classes of the layers that are really there, outermost first."""
    assert _wire.current() is process
    one: Any = inspect.getclosurevars(layers(app, app)).nonlocals["inner"]
    found = []
    while one is not app:
        one = getattr(one, "__self__", one)  # some hold the method of the next one that is called
        found.append(type(one).__name__)
        one = one.app if hasattr(one, "app") else one._app
    return found


EVERYTHING: Overrides = {
    "chaos": True,
    "chaos_faults": ("in hang /stock",),
    "single_flight_routes": ("/items/*",),
    "idempotency_store": "sqlite:///answers.sqlite3",
}
LITTLE: Overrides = {
    "load_shedding": False,
    "headers_max": 0,
    "body_max": 0,
    "body_timeout": 0,
    "live_path": "off",
    "ready_path": "off",
    "problem_details": False,
    "idempotency_store": "sqlite:///answers.sqlite3",
}


@pytest.mark.parametrize("settings", [EVERYTHING, LITTLE])
def test_what_is_said_is_what_is_there(settings: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer by layer, in the order in which `protect` puts them, and none that is off."""
    monkeypatch.chdir(tmp_path)
    process = _wire.switch_on(settings)
    said = [CLASSES[line.partition("(")[0]] for line in _inbound.layers(process.settings)]
    assert said == around(process)


def told(tmp_path: Path, **settings: Any) -> str:
    """The layers as one text."""
    return " > ".join(_inbound.layers(load(settings, {}, tmp_path)))  # type: ignore[arg-type]  # any of the names


def test_the_defaults_in_words(tmp_path: Path) -> None:
    """With what they are set to."""
    assert told(tmp_path) == (
        "SERVER span > Health(/livez, /readyz) > Drain(not ready for 5 s, then 20 s for what is under way) > "
        "Limits(100 headers, 104857600 bytes of body, 30 s for its next piece) > "
        "LoadShedding(at most 10000 at a time, 100 wait up to 0.1 s, at most 10000 streams) > "
        "Deadline(enforce, cancelled when it is spent) > ProblemDetails > KeptAnswers"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ready_requires": ("http://payment:8003", "answers")}, "/readyz, which requires http://payment:8003 and ans"),
        ({"ready_path": "off"}, "Health(/livez) >"),
        ({"client_max": 7}, "7 at a time of one client)"),
        ({"priority_routes": {"/checkout": "critical_plus"}}, "at most 10000 streams, /checkout critical_plus) >"),
        ({"deadline_mode": "observe"}, "Deadline(observe) >"),
        ({"deadline_cancel": False}, "Deadline(enforce) >"),
        ({"streams_max": 0}, "wait up to 0.1 s, any number of streams) >"),
        ({"load_shedding": False}, "> Streams(at most 10000 streams) > Deadline"),
    ],
)
def test_each_setting_is_told(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    """What is set stands in the line of its layer."""
    assert said in told(tmp_path, **settings)


def test_nothing_where_nothing_is(tmp_path: Path) -> None:
    """A handrail that is off puts no layer around anything."""
    assert told(tmp_path, enabled=False) == ""
