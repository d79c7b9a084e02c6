"""Faults on purpose under aiohttp: the innermost client middleware of all, wherever it was put among the others."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import wraps
from http import HTTPStatus
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..chaos.header import FROM, NAME
from ..chaos.rule import Call
from ..stale import Snapshot
from . import _chaos
from ._aiohttp_keep import Keeper

if TYPE_CHECKING:
    from ..chaos.book import Book, Plan
    from ..chaos.fault import Fault

__all__ = ["install"]

Handler = Callable[[Any], Awaitable[Any]]

_SCHEMES = {"ws": "http", "wss": "https"}
_OF_ONE_SENDING = ("_ClientRequest__writer", "response")
_undo: dict[type, Callable[[], None]] = {}


class _Seam:
    """What stands at the session class and where its middlewares are put around each other."""

    def __init__(self, module: ModuleType, book: "Book") -> None:
        self.on = True
        self.module: Any = module
        self.book = book
        self.keeper = Keeper(module)

    def around(self, original: Any) -> Any:
        """`ClientSession._request` with the step among its middlewares."""

        # No coroutine function of ours: aiohttp's warnings name a line of the service by counting frames.
        @wraps(original)
        def _request(session: Any, method: str, str_or_url: Any, **options: Any) -> Any:
            if self.on:
                theirs = options.get("middlewares")
                above = session._middlewares if theirs is None else theirs
                options["middlewares"] = (*above, _Step(self, session, options))
            return original(session, method, str_or_url, **options)

        return _request

    def last(self, original: Any) -> Any:
        """`build_client_middlewares`, which gets the step behind all that was added since."""

        @wraps(original)
        def build_client_middlewares(handler: Handler, middlewares: Sequence[Any]) -> Handler:
            steps = [one for one in middlewares if isinstance(one, _Step)]
            others = [one for one in middlewares if not isinstance(one, _Step)]
            made: Handler = original(handler, (*others, *steps[:1]))
            return made

        return build_client_middlewares


class _Step:
    """For one request of the service; called for each attempt of each of its hops."""

    def __init__(self, seam: _Seam, session: Any, options: dict[str, Any]) -> None:
        self._seam = seam
        self._session = session
        timeout = options.get("timeout")
        self._read = getattr(timeout if hasattr(timeout, "sock_read") else session._timeout, "sock_read", None)

    async def __call__(self, request: Any, handler: Handler) -> Any:
        seam = self._seam
        plan = self._plan(request) if seam.on else None
        if plan is None:
            return await handler(request)
        fault = plan.fault
        await self._wait(plan.delay)
        if fault is None:
            return await handler(request)
        if fault.kind in ("refuse", "partition"):
            raise seam.module.ClientConnectorError(request.connection_key, _chaos.refusal(fault.kind))
        if fault.kind == "hang":
            await self._wait(_chaos.lasting(fault.seconds))
            raise seam.module.ServerDisconnectedError
        if fault.kind == "error":
            return self._answer(request, fault)
        second = _copy(request) if fault.kind == "duplicate" else None
        response = await handler(request)
        if fault.kind == "reset":
            if response.connection is not None:
                response.connection.close()
            reset = _chaos.broken()
            response.content.set_exception(seam.module.ClientOSError(*reset.args))
        elif fault.kind == "lost":
            with suppress(seam.module.ClientError):
                await response.read()
            response.close()
            raise seam.module.ServerDisconnectedError
        elif second is not None:
            with suppress(Exception):  # the caller sees the first alone
                other = await handler(second)
                await other.read()
                other.release()
        return response

    def _plan(self, request: Any) -> "Plan | None":
        request.headers.popall(FROM, None)
        for name, value in self._seam.book.headers():
            if name != NAME or NAME not in request.headers:
                request.headers[name] = value
        url = request.url
        scheme = _SCHEMES.get(url.scheme, url.scheme)
        return self._seam.book.of_call(Call(request.method, scheme, url.host or "", url.port or 0, url.raw_path))

    async def _wait(self, seconds: float) -> None:
        sleep = self._seam.book.clock.sleep
        if self._read and seconds >= self._read:
            await sleep(self._read)
            raise self._seam.module.SocketTimeoutError("Timeout on reading data from socket")
        await sleep(min(seconds, _chaos.DAY))

    def _answer(self, request: Any, fault: "Fault") -> Any:
        body = _chaos.body_of(fault.kind, fault.status)
        headers = tuple(_chaos.told(fault.retry_after, len(body)))
        try:
            reason = HTTPStatus(fault.status).phrase
        except ValueError:
            reason = ""
        note: object = (reason, self._seam.module.HttpVersion11, {}, {})
        return self._seam.keeper.rebuilt(request, self._session, Snapshot(fault.status, headers, body, note))


def _copy(request: Any) -> Any:
    """The request once more; None where its body can be read only once."""
    body = request.body
    content = getattr(body, "_value", body)
    if content and not isinstance(content, bytes | bytearray | str):
        return None
    sent = object.__new__(type(request))
    sent.__dict__.update(request.__dict__)
    for state in _OF_ONE_SENDING:
        sent.__dict__.pop(state, None)
    sent.headers = request.headers.copy()
    return sent


def install(module: ModuleType, book: "Book") -> Callable[[], None]:
    """Patch the session class of `module`; see `_chaos.install`. Before 3.12 aiohttp is left as it is."""
    session: Any = module.ClientSession
    known = _undo.get(session)
    if known is not None:
        return known
    client: Any = import_module(f"{module.__name__}.client")
    original, build = vars(session)["_request"], getattr(client, "build_client_middlewares", None)
    if build is None or "middlewares" not in inspect.signature(original).parameters:
        return lambda: None
    seam = _Seam(module, book)
    ours, last = seam.around(original), seam.last(build)
    session._request = ours
    client.build_client_middlewares = last

    def undo() -> None:
        if _undo.pop(session, None) is None:
            return
        seam.on = False  # also where a later wrapper still holds ours inside
        if vars(session).get("_request") is ours:
            session._request = original
        if client.build_client_middlewares is last:
            client.build_client_middlewares = build

    _undo[session] = undo
    return undo
