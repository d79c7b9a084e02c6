"""A body that does not come to its end: the same request comes again, whole, and is carried out."""

from typing import Any

import pytest

from handrail.resilience.inbound._idempotency_run import SILENCE
from handrail.resilience.testing import run
from tests.resilience_inbound.idempotency_bench import Service, answer, whole


def service(status: int = 400) -> tuple[Service, list[bytes]]:
    """One that answers `status` to a body that breaks off, as FastAPI does, and 201 to others, which it notes."""
    bodies: list[bytes] = []

    async def app(_: Any, receive: Any, send: Any) -> None:
        try:
            body = await whole(receive)
        except ConnectionError:
            await answer(send, status, b'{"detail": "There was an error parsing the body"}')
        else:
            bodies.append(body)
            await answer(send, 201, b"{}")

    return Service(app), bodies


@pytest.mark.parametrize("status", [400, 422])
def test_a_complaint_about_half_a_body_is_not_kept(status: int) -> None:
    """The client breaks off in the middle; its second attempt is a new request, and no repeated 400."""
    there, bodies = service(status)
    pieces: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"amo', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def coming() -> dict[str, Any]:
        return pieces.pop(0)

    async def main() -> None:
        assert (await there.post("k", receive=coming)).status == status
        assert there.states == []
        assert (await there.post("k", b'{"amount": 12}')).status == 201
        assert (await there.post("k", b'{"amount": 12}')).replayed
        assert bodies == [b'{"amount": 12}']

    run(main(), there.clock)


def test_what_was_carried_out_without_the_whole_body_is_kept() -> None:
    """An app that says that it was done has done it."""
    there, _ = service(200)

    async def left() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def main() -> None:
        await there.post("k", receive=left)
        assert there.states == ["kept"]

    run(main(), there.clock)


def test_a_line_that_died_without_a_word_does_not_hold_its_key() -> None:
    """After 45 s without a piece the client counts as gone; slow pieces do not."""
    there, bodies = service()
    began = there.clock.now()
    pauses = [SILENCE - 1, SILENCE - 1, 1e6]

    async def coming() -> dict[str, Any]:
        await there.clock.sleep(pauses.pop(0))
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def main() -> None:
        assert (await there.post("k", receive=coming)).status == 400
        assert there.clock.now() - began == pytest.approx(3 * SILENCE - 2)
        assert (await there.post("k", b"xxxx")).status == 201
        assert bodies == [b"xxxx"]

    run(main(), there.clock)
