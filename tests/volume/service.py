"""Four services, none of which knows of tracing: what they do, and a ledger of what must be in the trace.

Run as `VOLUME_ROLE=front uvicorn --factory tests.volume.service:make`. The ledger (`VOLUME_LEDGER`) gets a line for
each span that this code has seen as current, or as the parent in a `traceparent` that came in: the ground truth.
"""

import os
from typing import Any

from fastapi import FastAPI, Request
from opentelemetry.trace import get_current_span

import handrail

__all__ = ["make", "note"]

LEDGER = os.open(os.environ["VOLUME_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(what: str, headers: Any = None) -> str:
    """One line for the span that is current, and one for the caller's; whole lines, whoever writes at once."""
    context = get_current_span().get_span_context()
    lines = [f"{context.trace_id:032x} {context.span_id:016x} {what}"]
    if headers is not None and "traceparent" in headers:
        _, trace_id, span_id, _ = headers["traceparent"].split("-")
        lines.append(f"{trace_id} {span_id} caller-of-{what}")
    os.write(LEDGER, "".join(f"{line}\n" for line in lines).encode())
    return f"{context.trace_id:032x}"


def make() -> Any:
    """The service that the environment names, protected."""
    return handrail.protect(_ROLES[os.environ["VOLUME_ROLE"]]())


def stock() -> FastAPI:
    """Two workers, one of which is recycled meanwhile."""
    app = FastAPI()

    @app.get("/stock/{number}")
    async def count(number: int, request: Request) -> dict[str, int]:
        note("stock", request.headers)
        return {"pid": os.getpid()}

    return app


def pay() -> Any:
    """Plain ASGI, no framework."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] != "/livez":  # which is left out of traces
            note("pay", {name.decode(): value.decode() for name, value in scope["headers"]})
        if scope["path"].startswith("/hang/"):
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def mail() -> FastAPI:
    """A synchronous endpoint, in the framework's thread pool."""
    app = FastAPI()

    @app.post("/mail/{number}")
    def send(number: int, request: Request) -> dict[str, str]:
        return {"trace_id": note("mail", request.headers)}

    return app


def front() -> FastAPI:
    """The one that calls the others, in every way there is."""
    from tests.volume import front as caller

    return caller.make(note)


_ROLES = {"front": front, "stock": stock, "pay": pay, "mail": mail}
