"""What may come in: how many requests, how large, how slow; and how a service ends. Seconds and bytes."""

from dataclasses import dataclass

from ..settings import Problem, each_checked

__all__ = ["LEVELS", "InboundSettings"]

LEVELS = ("critical_plus", "critical", "sheddable_plus", "sheddable")
"""How much a request matters, most first (SRE book, chapter 21, "Criticality"); `critical` is the default."""

Levels = tuple[tuple[str, str], ...]
"""(pattern of a path, level), in the order in which they are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundSettings:
    """One part each; every part is off by one setting."""

    load_shedding: bool = True
    """Refuse with 503 what cannot be served in time. The limit is found from the latency."""
    load_max: int = 10_000
    """Requests under way at a time, at most, in one event loop; the limit that is found is never above it."""
    load_queue: int = 100
    """Requests that may wait for one of those to end."""
    load_queue_wait: float = 0.1
    """Seconds that they wait at most."""
    priority_routes: Levels = ()
    """How much single routes matter: `/checkout=critical_plus,/reports/*=sheddable`. Probes are critical_plus."""
    priority_header: str = "off"
    """The request header that says it, by the same words. Only for callers whose word counts; `off`: none."""
    streams_max: int = 10_000
    """Websockets and event streams that may be open at a time in one process; they count for nothing else. 0: any."""
    deadline_cancel: bool = True
    """Where `deadline_mode` is `enforce`: a request is cancelled, and answered with 504, when its deadline is spent."""
    trace_link: str = ""
    """Where a trace is seen, such as `http://localhost:16686/trace/{trace_id}`: told in problem details; empty: not."""
    live_path: str = "/livez"
    """Answers 200 as long as the process can answer at all. The app's own route wins; `off`: none."""
    ready_path: str = "/readyz"
    """Answers 200 as long as requests should be sent here, else 503. The app's own route wins; `off`: none."""
    ready_requires: tuple[str, ...] = ()
    """Without what the service is not ready: origins whose breaker is open (`http://payment:8003`), `answers` (the
    store of answers to keyed requests), `breakers` (the shared state)."""
    drain_wait: float = 5.0
    """Seconds between SIGTERM, when readiness fails, and the end of accepting; none where nobody asks for readiness."""
    drain_timeout: float = 20.0
    """Seconds after that for requests under way; what is left then is cancelled and answered with 503."""
    body_max: int = 104_857_600
    """Bytes of the largest request body; above it 413. 0: any."""
    headers_max: int = 100
    """Headers of a request; above it 431 (Apache's LimitRequestFields: 100). 0: any."""
    body_timeout: float = 30.0
    """Seconds that the app may wait for the next piece of a request body, and for all of them together with one more
    for each 240 bytes; then 408. 0: any."""
    client_max: int = 0
    """Requests of one client (`idempotency_callers`, else the address) that may be under way at a time in one process;
    above it 429. 0: any."""
    single_flight_routes: tuple[str, ...] = ()
    """Paths whose identical GETs are served by one run of the app while it lasts; with `*` at the end all below."""

    def problems(self) -> list[Problem]:
        """Every value that is not allowed; empty when all is well."""
        found = each_checked(self, _disallowed)
        if self.live_path == self.ready_path != "off":
            found.append(("live_path", self.live_path, "another path than ready_path, or off"))
        return found


_BOUNDS = {
    "load_max": (1, 1_000_000, "a whole number from 1 to 1000000"),
    "load_queue": (0, 1_000_000, "a whole number from 0 to 1000000"),
    "load_queue_wait": (0, 60, "seconds from 0 to 60"),
    "streams_max": (0, 10_000_000, "a whole number from 0 (any) to 10000000"),
    "drain_wait": (0, 300, "seconds from 0 to 300"),
    "drain_timeout": (0, 3600, "seconds from 0 to 3600"),
    "body_max": (0, 1 << 50, "bytes, or 0 for any"),
    "headers_max": (0, 100_000, "a whole number from 0 (any) to 100000"),
    "body_timeout": (0, 3600, "seconds from 0 (any) to 3600"),
    "client_max": (0, 1_000_000, "a whole number from 0 (any) to 1000000"),
}
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_OWN_STORES = ("answers", "breakers")


def _disallowed(name: str, value: object) -> str | None:
    """What is allowed, where the value is not."""
    if name in _BOUNDS:
        least, most, said = _BOUNDS[name]
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1
        return None if least <= number <= most else said
    match name:
        case "load_shedding" | "deadline_cancel":
            return None if isinstance(value, bool) else "true or false"
        case "priority_routes":
            return _levels(value)
        case "single_flight_routes":
            paths = isinstance(value, tuple) and all(isinstance(one, str) and one.startswith("/") for one in value)
            return None if paths else "paths that begin with /"
        case "ready_requires":
            return _required(value)
    text = value if isinstance(value, str) else ""
    if name == "priority_header":
        return None if text and _TOKEN.issuperset(text.lower()) else "the name of a header, or off"
    if name == "trace_link":
        known = text.startswith(("http://", "https://")) and "{trace_id}" in text
        return None if known or value == "" else "a URL with {trace_id} in it"
    return None if text == "off" or text.startswith("/") else "a path that begins with /, or off"


def _levels(value: object) -> str | None:
    for pattern, level in value if isinstance(value, tuple) else [("", "")]:
        if not pattern.startswith("/") or level not in LEVELS:
            return "paths that begin with /, each with one of " + ", ".join(LEVELS)
    return None


def _required(value: object) -> str | None:
    for one in value if isinstance(value, tuple) else [""]:
        if one not in _OWN_STORES and not one.startswith(("http://", "https://")):
            return "origins such as http://payment:8003, answers or breakers"
    return None
