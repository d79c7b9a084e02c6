"""The lifespan: announced once, flushed before the end, given to apps that know none."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from handrail._lifespan import Lifespan

ANSWERED = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


class _Refused(Exception):
    """What a server raises on a message that is no answer to a lifespan event."""


def _run(app: Any) -> tuple[list[str], BaseException | None]:
    """Every step in order: what was sent, and `started`/`flushed` between."""
    steps: list[str] = []
    events = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive() -> dict[str, Any]:
        return {"type": next(events)}

    async def send(message: MutableMapping[str, Any]) -> None:
        if not message["type"].startswith("lifespan."):
            raise _Refused(message["type"])
        steps.append(message["type"])

    async def stopping() -> None:
        steps.append("flushed")

    around = Lifespan(app, started=lambda: steps.append("started"), stopping=stopping)
    try:
        asyncio.run(around({"type": "lifespan"}, receive, send))
    except Exception as error:
        return steps, error
    return steps, None


async def _knows(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def _asserts_http(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"


async def _answers_http(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _ignores(scope: Any, receive: Any, send: Any) -> None:
    return


async def _reads_and_returns(scope: Any, receive: Any, send: Any) -> None:
    await receive()


FULL = ["started", ANSWERED[0], "flushed", ANSWERED[1]]


@pytest.mark.parametrize("app", [_knows, _ignores, _reads_and_returns])
def test_flush_comes_before_the_server_hears_of_the_end(app: Any) -> None:
    """Started before startup is confirmed, flushed before shutdown is, also for apps that return without an answer."""
    assert _run(app) == (FULL, None)


async def _cannot_start(scope: Any, receive: Any, send: Any) -> None:
    raise ConnectionError("no database")


@pytest.mark.parametrize(("app", "kind"), [(_asserts_http, AssertionError), (_cannot_start, ConnectionError)])
def test_what_comes_out_before_the_first_event_is_the_servers_to_judge(app: Any, kind: type[Exception]) -> None:
    """Knows no lifespan, or cannot start: only the server's settings say which, so the exception is not held back."""
    steps, error = _run(app)
    assert steps == ["started"]
    assert isinstance(error, kind)


def test_an_answer_as_if_to_a_request_is_the_servers_to_refuse() -> None:
    """It reaches the server as without us."""
    steps, error = _run(_answers_http)
    assert steps == []
    assert isinstance(error, _Refused)


def test_a_failed_start_is_the_apps_own() -> None:
    """An app that raises during its startup fails as without us, and nothing is announced as ready."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise ConnectionError("no database")

    steps, error = _run(broken)
    assert steps == []
    assert isinstance(error, ConnectionError)


def test_startup_failed_passes_through() -> None:
    """`lifespan.startup.failed` reaches the server, and the exception behind it too."""

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})
        raise RuntimeError("no")

    steps, error = _run(failing)
    assert steps == ["lifespan.startup.failed"]
    assert isinstance(error, RuntimeError)


def test_a_failing_shutdown_still_flushes() -> None:
    """Spans leave although the app's own shutdown failed."""

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "late"})

    assert _run(failing)[0] == ["started", ANSWERED[0], "flushed", "lifespan.shutdown.failed"]


def test_a_crash_in_shutdown_still_flushes() -> None:
    """Spans leave although the app raised without a word when it was told to stop."""

    async def crashing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise RuntimeError("boom")

    steps, error = _run(crashing)
    assert steps == ["started", ANSWERED[0], "flushed"]
    assert isinstance(error, RuntimeError)
