"""An ASGI server in miniature: it calls an application and keeps what it sends."""

import asyncio
from typing import Any

from handrail.tracing.inbound._exchange import App, Message


class Server:
    """Calls an application once per `get`; `sent` holds its messages."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self._asked = False
        self._answered = asyncio.Event()
        self.gone = False
        """The client has left: receive says so, send raises OSError as the ASGI specification allows."""

    def scope(self, path: str, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """An HTTP scope as uvicorn makes it."""
        lines = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {"host": "shop:8000"}).items()]
        base: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": lines,
            "client": ("10.0.0.7", 50123),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        return base | more

    async def receive(self) -> Message:
        if self.gone:
            return {"type": "http.disconnect"}
        if self._asked:
            await self._answered.wait()  # the client stays until it has its response
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        if self.gone:
            raise OSError("client disconnected")
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._answered.set()

    async def call(self, app: App, path: str = "/", headers: dict[str, str] | None = None, **more: Any) -> None:
        """One request within the running loop."""
        self._asked = False
        self._answered = asyncio.Event()
        await app(self.scope(path, headers, **more), self.receive, self.send)

    def get(self, app: App, path: str = "/", headers: dict[str, str] | None = None, **more: Any) -> int:
        """One request in a loop of its own; the status that was sent, 0 for none."""
        self.sent.clear()
        asyncio.run(self.call(app, path, headers, **more))
        return next((message["status"] for message in self.sent if message["type"] == "http.response.start"), 0)
