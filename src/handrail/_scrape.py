"""The Prometheus endpoint: one path in front of the application, only where a setting names it."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._shapes import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from .tracing.metrics._points import Reader

__all__ = ["Scrape"]

_log = logging.getLogger("handrail")


class Scrape:
    """Answers GET and HEAD of `path` with the metrics that `reader` gives; all else goes to `app`.

    The path is the whole one, as the client sees it behind `root_path` or without it. Off the event loop: to
    format some thousand series takes a while.
    """

    def __init__(self, app: ASGIApp, path: str, reader: "Callable[[], Reader | None]") -> None:
        self._app = app
        self._path = path
        self._reader = reader
        self._answer: Callable[[str], tuple[bytes, str]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a scrape, or pass on."""
        if scope["type"] != "http" or not self._is_ours(scope):
            await self._app(scope, receive, send)
            return
        import anyio.to_thread

        accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        body, content_type = await anyio.to_thread.run_sync(self._page, accept)
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _is_ours(self, scope: Scope) -> bool:
        path = scope["path"]
        if path != self._path and path.removeprefix(scope.get("root_path", "")) != self._path:
            return False
        return scope["method"] in ("GET", "HEAD")

    def _page(self, accept: str) -> tuple[bytes, str]:
        if self._answer is None:
            from .tracing.metrics import _prometheus

            self._answer = _prometheus.page(self._reader)
            _log.info("metrics are served at %s", self._path)
        return self._answer(accept)
