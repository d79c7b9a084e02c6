"""What a service decides once for all its calls: deadlines, header names, declared destinations, shared state."""

from dataclasses import dataclass, field

from .settings import Problem, each_checked

__all__ = ["ServiceSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The settings that no single origin has. Durations are seconds."""

    deadline_mode: str = "enforce"
    """`observe`: deadlines of callers are told; `propagate`: they also bind the calls out; `enforce`: a request
    whose deadline has passed is not begun (the stages of Misk's roll-out)."""
    deadline_max: float = 3600.0
    """Seconds from now beyond which no caller's deadline is believed."""
    timeout_header: str = "x-envoy-expected-rq-timeout-ms"
    """Carries the milliseconds left, in and out; `off`: neither sent nor believed."""
    attempt_header: str = "x-envoy-attempt-count"
    """Carries the number of the attempt from the second on, in and out; `off`: neither sent nor believed."""
    strict: bool = False
    """Refuse connections that go round the policies, except to `destinations` and this machine."""
    destinations: tuple[str, ...] = ()
    """Hosts, or `host:port`, that may be reached round the policies; `*` stands for anything."""
    shared_state: str = field(default="", repr=False)  # it may hold a password
    """A Redis URL through which the breakers of all workers and machines tell each other; empty: none."""
    shared_quorum: int = 2
    """Instances that must have opened a breaker before the others open theirs."""
    reload_every: float = 2.0
    """Seconds between two looks at the settings file; 0: it is read at the start alone."""

    def problems(self) -> list[Problem]:
        """Every value that is not allowed; empty when all is well."""
        return each_checked(self, _disallowed)


_MODES = ("observe", "propagate", "enforce")
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def _disallowed(name: str, value: object) -> str | None:
    """What is allowed, where the value is not."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    match name:
        case "deadline_mode":
            return None if value in _MODES else "observe, propagate or enforce"
        case "deadline_max":
            return None if 0.001 <= number <= 86_400 else "seconds from 0.001 to 86400"
        case "timeout_header" | "attempt_header":
            text = value.lower() if isinstance(value, str) else ""
            return None if text and _TOKEN.issuperset(text) else "the name of a header, or off"
        case "strict":
            return None if isinstance(value, bool) else "true or false"
        case "destinations":
            return None if isinstance(value, tuple) and all(isinstance(one, str) and one for one in value) else "hosts"
        case "shared_state":
            known = isinstance(value, str) and (not value or value.startswith(("redis://", "rediss://", "unix://")))
            return None if known else "a URL that begins with redis://, rediss:// or unix://"
        case "shared_quorum":
            return None if isinstance(value, int) and 1 <= number <= 1000 else "a whole number from 1 to 1000"
        case _:
            return None if 0 <= number <= 3600 else "seconds from 0 (off) to 3600"
