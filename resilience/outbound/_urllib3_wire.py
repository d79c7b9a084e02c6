"""A request through urllib3's pools as the pipeline sees it, and what requests needs of the same."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping, MutableMapping
from functools import lru_cache
from math import inf
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
from urllib.parse import urlsplit

from ..call import SAFE_METHODS, Call, Resend
from ..classify import Verdict, of_status
from ..stale import Later, Snapshot
from . import _urllib3_keep as _keep
from . import _urllib3_library as library
from ._credentials import one_time
from ._urllib3_body import unbound
from ._urllib3_wishes import Wish, cut, limits
from .headers import is_key, milliseconds, outgoing

if TYPE_CHECKING:
    from ..policy import Tools
    from ..settings import ResilienceSettings

__all__ = [
    "SHORTEST",
    "PoolCall",
    "PoolWire",
    "Sending",
    "SyncWire",
    "handler",
    "origin",
    "patched",
    "resend_class",
    "telling",
]

R = TypeVar("R")
Headers = Mapping[str, str]
Ended = Callable[[BaseException | None, object], None]

SHORTEST = 0.001
_FAILED = 400
_IN_MEMORY = (bytes, str, bytearray, memoryview)
_NEVER = (Resend.ONE_SHOT, Resend.THEIRS)
_PORTS = {"http": 80, "https": 443}


class Sending(Call[R]):
    """One request on its way through a pool: how the pools below know that it has its policies.

    `ended` is where a tracer leaves what is to be called when an attempt is over, with the error
    or None, and the result or None. Only where `tells_end`; else the end of `urlopen` is the end.
    """

    __slots__ = ("ended", "silence", "wish")

    tells_end: ClassVar[bool] = False

    def __init__(self, wire: "SyncWire[R]", target: str, operation: str, resend: Resend, wish: Wish | None) -> None:
        super().__init__(wire, target=target, operation=operation, resend=resend)
        self.wish = wish
        self.ended: Ended | None = None
        self.silence = None if wish is None else wish.read

    def bound(self, settings: "ResilienceSettings", *, streamed: bool, several: bool, chosen: bool = False) -> None:
        """Set the limits of this call. `several`: retries of the code's own run within the one attempt of ours.

        `chosen`: the code said them by `handrail.policy`, and they stand in the settings.
        """
        if not chosen:
            self.attempt_timeout, self.total_timeout = limits(self.wish, settings, streamed=streamed)
        if several:
            if self.wish is None:
                self.wish = Wish(settings.attempt_timeout, settings.attempt_timeout, settings.attempt_timeout)
            self.attempt_timeout = settings.total_timeout if self.total_timeout is None else self.total_timeout

    def seen(self, headers: Headers) -> None:
        """The peer may have seen this request: what is good for one sending is spent."""
        if self.resend not in _NEVER and one_time(_lower(headers)):
            self.resend = Resend.ONE_TIME


class SyncWire(Generic[R]):
    """The half of `Wire` that libraries without an event loop leave out."""

    def send(self, call: Call[R]) -> Awaitable[R]:
        """Never called: no loop sends through a pool of threads."""
        raise NotImplementedError

    def discard(self, result: R) -> Awaitable[None]:
        """Never called."""
        raise NotImplementedError

    def send_sync(self, call: Call[R]) -> R:
        raise NotImplementedError

    def judge(self, result: R) -> Verdict:
        raise NotImplementedError

    def judge_error(self, error: BaseException) -> Verdict:
        raise NotImplementedError

    def retry_after(self, result: R) -> str | None:
        return self.header(result, "retry-after")

    def header(self, result: Any, name: str) -> str | None:
        text: str | None = result.headers.get(name)
        return text

    def discard_sync(self, result: Any) -> None:
        result.close()


class PoolCall(Sending[Any]):
    """One call of `urlopen` by code that uses urllib3 itself."""

    __slots__ = ("body", "headers", "method", "more", "pool", "redirect", "retries", "same_host", "streamed", "url")

    pool: Any
    method: str
    url: str
    body: Any
    headers: Headers | None
    retries: Any
    redirect: bool
    same_host: bool
    more: dict[str, Any]
    streamed: bool

    def likeness(self) -> object:
        body = self.body
        if body is not None and not isinstance(body, bytes | str):
            return None
        return hash((id(self.pool), self.url, body))


class PoolWire(SyncWire[Any]):
    """Sends through the `urlopen` that was there before."""

    def __init__(self, original: Any, tools: "Tools") -> None:
        self.handle = handler(original)
        self._tools = tools

    def send_sync(self, call: Call[Any]) -> Any:
        assert isinstance(call, PoolCall)
        more, bounds = call.more, None
        if call.attempt_ends < inf:
            bounds = cut(call.wish, max(call.attempt_ends - self._tools.clock.now(), SHORTEST))
            more = {**more, "timeout": bounds}
        pool, headers = call.pool, call.headers
        headers = telling(call, pool.headers if headers is None else headers, self._tools)
        try:
            response = self.handle(
                pool, call.method, call.url, call.body, headers, call.retries, call.redirect, call.same_host, **more
            )
        except BaseException:
            call.seen(headers)
            raise
        if response.status >= _FAILED:
            call.seen(headers)
        if bounds is not None and call.streamed:
            unbound(response, call.silence)
        return response

    def asked(self, call: Call[Any]) -> tuple[str, _keep.Pairs, Hashable]:
        """What an answer is kept by; see `stale`."""
        assert isinstance(call, PoolCall)
        return _keep.asked(call)

    def snapshot(self, call: Call[Any], result: Any, most: int, later: Later) -> Snapshot | None:  # noqa: ARG002 (others need it)
        """The parts of a response that was read at once."""
        assert isinstance(call, PoolCall)
        return None if call.streamed else _keep.parts(result, most)

    def restore(self, call: Call[Any], answer: Snapshot) -> Any:
        """A response of those parts."""
        assert isinstance(call, PoolCall)
        return _keep.rebuilt(call, answer)

    def judge(self, result: Any) -> Verdict:
        return of_status(result.status)

    def judge_error(self, error: BaseException) -> Verdict:
        return library.judge(error)


def handler(original: Any) -> Callable[..., Any]:
    """What was there before, called with its instance first; a tracer's wrapper must be bound to see it."""
    if type(original) is FunctionType:
        return original
    return lambda instance, *args, **kwargs: original.__get__(instance, type(instance))(*args, **kwargs)


def resend_class(method: str, body: object, headers: Headers) -> Resend:
    """May this request be sent again? RFC 9110, 9.2.2, and draft-ietf-httpapi-idempotency-key-header."""
    if body is not None and not isinstance(body, _IN_MEMORY):
        return Resend.ONE_SHOT
    if method in SAFE_METHODS:
        return Resend.SAFE
    keyed = is_key(headers.get("Idempotency-Key"))
    if not keyed and type(headers) is dict:
        keyed = is_key(_lower(headers).get("idempotency-key"))
    return Resend.KEYED if keyed else Resend.UNSAFE


def telling(call: Call[Any], headers: Headers, tools: "Tools") -> Headers:
    """The headers of one attempt, with what it tells the peer: a copy, never the caller's own."""
    # requests' headers are slow to copy and to ask, and nobody but urllib3 reads what leaves here.
    store = getattr(headers, "_store", None)
    if type(store) is OrderedDict:
        headers = dict(store.values())
    plain = type(headers) is dict
    name = tools.headers.timeout
    if plain and name and call.attempt == 1 and call.key is None and not _holds(headers, name):
        if call.attempt_ends == inf:
            return headers
        return {**headers, name: str(milliseconds(call.attempt_ends - tools.clock.now()))}
    told = outgoing(call, tools, _lower(headers).get if plain else headers.get)
    if not told:
        return headers
    copy: MutableMapping[str, str] = _copied(headers)
    names = {name.lower(): name for name in copy} if plain else {}
    for name, value in told:
        if name in names:
            del copy[names[name]]
        copy[name] = value
    return copy


def _copied(headers: Any) -> Any:
    return headers.copy() if hasattr(headers, "copy") else dict(headers)


def _holds(headers: Headers, name: str) -> bool:
    try:
        return name in map(str.lower, headers)
    except TypeError:  # names as bytes
        return True


def _lower(headers: Headers) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


@lru_cache(maxsize=4096)
def origin(scheme: str, authority: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is not HTTP."""
    scheme = scheme.lower()
    try:
        parts = urlsplit(f"//{authority}")
        port = parts.port or _PORTS.get(scheme)
    except ValueError:
        return None
    return (scheme, parts.hostname, port) if scheme in _PORTS and parts.hostname and port else None


def patched(owner: type, name: str, wrap: Callable[[Any], Callable[..., Any]]) -> Callable[[], None]:
    """Put a wrapper on a class; the undo leaves alone what somebody put around it since."""
    original = vars(owner)[name]  # unbound, and a tracer's wrapper as it is
    ours = wrap(original)
    setattr(owner, name, ours)

    def restore() -> None:
        if vars(owner).get(name) is ours:
            setattr(owner, name, original)

    return restore
