"""A fault that is switched on: counts what fits it, and draws."""

import random
import threading
from datetime import datetime

from .fault import Fault, Moment
from .place import fits_origin, fits_path, peer_of

__all__ = ["Call", "Request", "Rule"]

_OF_AN_ANSWER = ("duplicate", "lost")
"""Faults that mean nothing to a websocket."""


class Call:
    """An attempt that is about to leave."""

    __slots__ = ("host", "method", "path", "port", "scheme", "target")

    def __init__(self, method: str, scheme: str, host: str, port: int, path: str) -> None:
        self.method = method
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path


class Request:
    """A request that came, or a websocket; `caller` is the service that made it, where that says so."""

    __slots__ = ("caller", "method", "path", "websocket")

    def __init__(self, method: str, path: str, caller: str, *, websocket: bool = False) -> None:
        self.method = method
        self.path = path
        self.caller = caller
        self.websocket = websocket


class Rule:
    """One fault, what has fitted it and what it has hit. `seed` and the text of the fault decide on its draws."""

    def __init__(self, fault: Fault, seed: object, service: str) -> None:
        self.fault = fault
        self.text = str(fault)
        self.hits = 0
        self._fitted = 0
        self._service = service
        self._draw = random.Random(f"{seed} {self.text}").random
        self._lock = threading.Lock()

    def fits_call(self, call: Call) -> bool:
        """Whether it is about this call."""
        fault = self.fault
        if not fault.goes_out or not self._is_here() or fault.method not in ("", call.method):
            return False
        if fault.kind == "partition":
            peer = peer_of(fault.where, self._service)
            return peer is not None and fits_origin(peer[1], call.scheme, call.host, call.port, call.path)
        return fits_origin(fault.where, call.scheme, call.host, call.port, call.path)

    def fits_request(self, request: Request) -> bool:
        """Whether it is about this request."""
        fault = self.fault
        if not fault.comes_in or not self._is_here() or fault.method not in ("", request.method):
            return False
        if request.websocket and fault.kind in _OF_AN_ANSWER:
            return False
        if fault.kind == "partition":
            peer = peer_of(fault.where, self._service)
            return bool(request.caller) and peer is not None and peer[0].fullmatch(request.caller) is not None
        return fits_path(fault.where, request.path)

    def drawn(self, since: float, wall: float) -> bool:
        """Whether what fits is hit: `since` are the seconds since the start, `wall` those since the epoch."""
        fault = self.fault
        if not _reached(fault.after, since, wall) or _reached(fault.until, since, wall):
            return False
        with self._lock:
            self._fitted += 1
            if self._fitted % fault.every or (fault.times and self.hits >= fault.times):
                return False
            if fault.share < 1 and self._draw() >= fault.share:
                return False
            self.hits += 1
            return True

    def in_child(self) -> None:
        """After a fork: whoever held the lock is not there."""
        self._lock = threading.Lock()

    def _is_here(self) -> bool:
        return self.fault.service in ("", self._service)


def _reached(moment: Moment, since: float, wall: float) -> bool:
    return wall >= moment.timestamp() if isinstance(moment, datetime) else since >= moment
