"""How long callers say that they wait: three headers in use, and the number of the caller's attempt."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

__all__ = ["DeadlineHeaders"]

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,9})?").fullmatch
_GRPC = re.compile(r"([0-9]{1,8})([HMSmun])").fullmatch
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_LONGEST = 256
"""Bytes of a header, all its repetitions together, that are read at all."""
_QUICK = 10
_ATTEMPTS = 100

Parse = Callable[[str, float], float | None]


class DeadlineHeaders:
    """Reads them out of a request's headers; `timeout` and `attempt` are names, `off` where nobody is believed.

    | header                          | says                                        | from          |
    |---------------------------------|---------------------------------------------|---------------|
    | `x-envoy-expected-rq-timeout-ms`| milliseconds left (the name can be set)     | Envoy, Istio  |
    | `x-request-deadline`            | seconds left, or an instant by RFC 3339     | Misk          |
    | `grpc-timeout`                  | 8 digits and a unit of H, M, S, m, u, n     | gRPC          |
    """

    def __init__(self, timeout: str, attempt: str) -> None:
        self._parsers: dict[bytes, Parse] = {b"x-request-deadline": _seconds_or_instant, b"grpc-timeout": _grpc}
        if timeout.lower() != "off":
            self._parsers[timeout.lower().encode()] = _milliseconds
        self._attempt = b"" if attempt.lower() == "off" else attempt.lower().encode()
        self.names = frozenset({*self._parsers, self._attempt} - {b""})
        """In lower case, as ASGI has them."""

    def left(self, found: Mapping[bytes, bytes], wall: Callable[[], float]) -> float | None:
        """Seconds: the smallest that any header says, 0 or less where the time is up; None where none says anything.

        `found` has the values of one name joined by commas. What cannot be read says nothing.
        """
        smallest: float | None = None
        for name, parse in self._parsers.items():
            value = found.get(name)
            if value is None or len(value) > _LONGEST or not value.isascii():
                continue
            if parse is _milliseconds and value.isdigit() and len(value) < _QUICK:  # what other handrails send
                seconds = int(value) / 1000
                smallest = seconds if smallest is None else min(smallest, seconds)
                continue
            for text in value.decode("ascii").split(","):
                said = parse(text.strip(), wall())
                if said is not None and (smallest is None or said < smallest):
                    smallest = said
        return smallest

    def attempt(self, found: Mapping[bytes, bytes]) -> int:
        """Which attempt of the caller this is, 1 where nobody says; 100 stands for more."""
        value = found.get(self._attempt)
        if value is None:
            return 1
        value = value.strip()
        if not value.isdigit() or len(value) > _QUICK:
            return 1
        return min(max(int(value), 1), _ATTEMPTS)


def _milliseconds(text: str, _wall: float) -> float | None:
    return float(text) / 1000 if _NUMBER(text) else None


def _grpc(text: str, _wall: float) -> float | None:
    match = _GRPC(text)
    return int(match[1]) * _UNITS[match[2]] if match else None


def _seconds_or_instant(text: str, wall: float) -> float | None:
    if _NUMBER(text):
        return float(text)
    if ":" not in text:  # a date alone is no instant
        return None
    try:
        instant = datetime.fromisoformat(text)
        return (instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)).timestamp() - wall
    except (ValueError, OverflowError):
        return None
