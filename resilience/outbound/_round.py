"""Connections that go round the policies: noticed where Python connects a TCP socket, and named by who asked for it.

While a pipeline sends, `under_way` holds its call, also in the tasks that a client library makes to race addresses;
a socket that is connected without one belongs to nobody's policy. Nothing else is touched: a request on an open
connection costs nothing. Event loops and libraries in C that connect by themselves (uvloop's `create_connection`,
libpq, gRPC) are not seen.
"""

import _socket
import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import wraps
from ipaddress import ip_address
from typing import Any

from .._forked import watch
from .._trail import trail
from ..call import under_way
from ..errors import Undeclared
from ..events import ConnectionUnguarded, Listener
from ..service import ServiceSettings

__all__ = ["KNOWN_PORTS", "Round"]

_log = logging.getLogger("handrail")

KNOWN_PORTS = frozenset(
    {22, 25, 53, 389, 465, 587, 636, 1433, 1521, 1883, 2181, 3306, 4222, 5432, 5671, 5672, 6379, 6380, 6432, 8883}
    | {9042, 9092, 9093, 11211, 26379, 27017, 27018, 33060}
)
"""Databases, caches, queues, mail, directories, names: their clients have policies of their own, so nothing is said."""

_OPERATION = "CONNECT"
_MOST_NAMES = 1024
_SAME = 4
"""Names that are kept for one address: many services stand behind one ingress."""
_MOST_SAID = 256
_DEBUGGERS = ("pydevd", "debugpy")
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_family: Callable[[Any], int] = _socket.socket.family.__get__  # the class makes an enum of it
_type: Callable[[Any], int] = _socket.socket.type.__get__

Said = Callable[[str, str, bool], None]
"""Told once for each destination: host:port, file:line, and whether its port is a known one."""


class Round:
    """Looks at every TCP connection that this process makes. `rules` are read anew for each that no policy saw.

    `left_alone` says that the code at hand exports telemetry; `own` gives the destinations that handrail's own settings
    name.
    """

    def __init__(
        self,
        rules: Callable[[], ServiceSettings],
        emit: Listener,
        *,
        left_alone: Callable[[], bool] = lambda: False,
        own: Callable[[], Iterable[str]] = tuple,
        said: Said | None = None,
    ) -> None:
        self._on = False
        self._rules = rules
        self._emit = emit
        self._left_alone = left_alone
        self._own = own
        self._tell = said
        self._names: dict[tuple[str, int], tuple[str, ...]] = {}
        self._said: set[str] = set()
        self._lock = threading.Lock()
        watch(self)

    def in_child(self) -> None:
        """After a fork: whoever held the lock is not there."""
        self._lock = threading.Lock()

    def install(self) -> Callable[[], None]:
        """Stand before every `connect` of Python's sockets, and listen to `getaddrinfo` for names; returns the undo."""
        self._on = True
        kind: Any = socket.socket
        undos = [
            _put(kind, "connect", self._before(kind.connect)),
            _put(kind, "connect_ex", self._before_ex(kind.connect_ex)),
            _put(socket, "getaddrinfo", self._listening(socket.getaddrinfo)),
        ]

        def undo() -> None:
            self._on = False  # also where a later wrapper still holds ours inside
            while undos:
                undos.pop()()

        return undo

    def _before(self, original: Any) -> Any:
        @wraps(original)
        def connect(sock: Any, address: Any, /) -> Any:
            if self._on and under_way.get() is None:
                refused = self._look(sock, address)
                if refused is not None:
                    raise refused
            return original(sock, address)

        return connect

    def _before_ex(self, original: Any) -> Any:
        @wraps(original)
        def connect_ex(sock: Any, address: Any, /) -> Any:
            if self._on and under_way.get() is None:
                refused = self._look(sock, address)
                if refused is not None:
                    self._say_refused(refused)
                    return errno.ECONNREFUSED  # it raises nothing of what a connection comes to
            return original(sock, address)

        return connect_ex

    def _listening(self, original: Any) -> Any:
        @wraps(original)
        def getaddrinfo(host: Any, port: Any, *more: Any, **options: Any) -> Any:
            found = original(host, port, *more, **options)
            if self._on and host:
                self._remember(host.decode("ascii", "replace") if isinstance(host, bytes) else str(host), found)
            return found

        return getaddrinfo

    def _remember(self, host: str, found: list[Any]) -> None:
        with self._lock:
            for one in found:
                where = one[4][:2]
                names = self._names.pop(where, ())
                self._names[where] = (host, *(name for name in names if name != host))[:_SAME]
            while len(self._names) > _MOST_NAMES:
                del self._names[next(iter(self._names))]

    def _look(self, sock: Any, address: Any) -> Undeclared | None:
        """Tell of a connection that no policy saw. Gives the error where it may not be."""
        if _type(sock) != socket.SOCK_STREAM or _family(sock) not in _INTERNET or not isinstance(address, tuple):
            return None
        if len(address) < 2:
            return None  # the socket says what is wrong with it
        host, port = _text(address[0]), address[1]
        names = self._names.get((host, port)) or self._names.get((host, 0)) or (host,)
        rules = self._rules()
        if _declared((*names, host), port, (*rules.destinations, *self._own())) or self._left_alone():
            return None
        place = trail().place
        if any(one in place for one in _DEBUGGERS):
            return None
        target = _told(names[0], port)
        refused = rules.strict and not _is_local(host)
        self._emit(ConnectionUnguarded(target, _OPERATION, place, refused))
        self._say(target, port, place, refused=refused)
        if not refused:
            return None
        text = (
            f"strict: a connection to {target} past all policies. Make the call through a client that handrail "
            f'guards, or declare it in the settings: destinations = ["{target}"]'
        )
        error = Undeclared(text, target=target)
        # A note, not the text: that a stranger may get as the detail of an answer.
        error.add_note(f"handrail: from {place}")
        return error

    def _say(self, target: str, port: int, place: str, *, refused: bool) -> None:
        with self._lock:
            if target in self._said or len(self._said) >= _MOST_SAID:
                return
            self._said.add(target)
        known = port in KNOWN_PORTS
        if not known and not refused:
            _log.warning(
                "%s connects to %s past handrail: no timeout, retry or breaker. Make the call through httpx, aiohttp, "
                'requests or urllib3, or say that it is meant: destinations = ["%s"] in handrail.toml (said once)',
                place,
                target,
                target,
            )
        if self._tell is not None:
            self._tell(target, place, known)

    def _say_refused(self, error: Undeclared) -> None:
        """Where a number is all that the code gets; once for each destination."""
        key = f"connect_ex {error.target}"
        with self._lock:
            if key in self._said or len(self._said) >= 2 * _MOST_SAID:
                return
            self._said.add(key)
        _log.warning("refused, %s (%s; said once)", error, error.__notes__[0].removeprefix("handrail: "))


def _put(owner: Any, name: str, ours: Any) -> Callable[[], None]:
    missing = object()
    before = vars(owner).get(name, missing)
    setattr(owner, name, ours)

    def restore() -> None:
        if vars(owner).get(name) is not ours:
            return
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    return restore


def _told(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _declared(names: tuple[str, ...], port: int, patterns: tuple[str, ...]) -> bool:
    for pattern in patterns:
        wanted = pattern.lower()
        for name in names:
            host = name.lower().rstrip(".")
            if fnmatchcase(host, wanted) or fnmatchcase(_told(host, port), wanted):
                return True
    return False


def _text(host: object) -> str:
    return bytes(host).decode("latin-1") if isinstance(host, bytes | bytearray) else str(host)


def _is_local(host: str) -> bool:
    """Whether an address is this machine's own; one that is not specified leads there too."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower() in ("localhost", "")
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)
