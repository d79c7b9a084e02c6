"""Breaks a connection off without an answer, as far as ASGI allows: it has no word for that.

uvicorn's connection is aborted (the peer sees a reset), hypercorn's stream is closed. Any other server, and a client
within the process, gets the beginning of a response and an exception: they have nothing but that to break off with.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import Receive, Send

__all__ = ["Dropped", "cut", "drop", "gone"]


class Dropped(ConnectionResetError):
    """A connection that was dropped on purpose, where the server cannot be made to do it."""


async def drop(wire: object, receive: "Receive", send: "Send", *, begun: bool) -> None:
    """Break off. `wire` is the server's own `send`, `begun` whether a response has.

    Raises Dropped where that is all that can be done.
    """
    if await cut(wire):
        await gone(wire, receive)
        return
    if not begun:
        # What is shorter than its length is no whole response; without a byte of it granian answers 500 instead.
        headers = [(b"content-length", b"2"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
    raise Dropped("dropped on purpose (chaos)")


async def cut(wire: object) -> bool:
    """Have the server break the connection off; false where it cannot be made to."""
    owner: Any = getattr(wire, "__self__", None)
    transport = _transport(wire)
    if transport is None:
        return await _closed(owner)
    transport.abort()
    return True


async def gone(wire: object, receive: "Receive") -> None:
    """Wait until uvicorn knows that its connection is lost: it would complain of a response that is not whole."""
    while _transport(wire) is not None and (await receive())["type"] != "http.disconnect":
        pass


def _transport(wire: object) -> Any:
    found = getattr(getattr(wire, "__self__", None), "transport", None)
    return found if hasattr(found, "abort") else None


async def _closed(stream: Any) -> bool:
    """Close a stream of hypercorn; false where it is none."""
    events: Any = sys.modules.get("hypercorn.protocol.events")
    if events is None or not hasattr(stream, "stream_id") or not hasattr(stream, "send"):
        return False
    if not stream.closed:
        await stream.send(events.StreamClosed(stream_id=stream.stream_id))
    return True
