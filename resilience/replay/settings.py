"""How requests with an `Idempotency-Key` are treated. Durations are seconds, sizes are bytes."""

from dataclasses import dataclass, field

from ..settings import Problem, each_checked

__all__ = ["IdempotencySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencySettings:
    """draft-ietf-httpapi-idempotency-key-header, as a service honours it."""

    idempotency_store: str = field(default="auto", repr=False)  # it may hold a password
    """Where answers are kept: `auto` is a SQLite file of this service in the user's state folder, for all workers of
    one machine; `sqlite:///path`, `redis://…`, `rediss://…`, `postgresql://…`; `off`: keys mean nothing."""
    idempotency_retention: float = 86_400.0
    """Seconds that an answer is kept."""
    idempotency_lease: float = 10.0
    """Seconds without a sign of life after which a request counts as broken off: its worker was killed."""
    idempotency_interrupted: str = "refuse"
    """A key whose worker was killed on the way: `refuse` it, since nobody knows whether it was carried out; `again`:
    carry it out once more, for services that write their effects down under `handrail.idempotency_key()`."""
    idempotency_unavailable: str = "refuse"
    """Keyed requests while the store is away: `refuse` them with 503, or `run` them unguarded."""
    idempotency_cookies: str = "drop"
    """Set-Cookie of a kept answer: `drop` it, `keep` it, or do not keep such an answer at all (`skip`)."""
    idempotency_callers: tuple[str, ...] = ("authorization", "x-api-key")
    """Request headers that tell one caller from another: each has its own keys."""
    idempotency_answer_max: int = 1_048_576
    """Bytes of the largest answer that is kept; of a larger one only that it was given."""
    idempotency_store_max: int = 268_435_456
    """Bytes of all kept answers; the oldest go first. For SQLite and Postgres: Redis has its own bound."""

    def problems(self) -> list[Problem]:
        """Every value that is not allowed; empty when all is well."""
        return each_checked(self, _disallowed)


_SCHEMES = ("sqlite:///", "redis://", "rediss://", "unix://", "postgresql://", "postgres://")
_CHOICES = {
    "idempotency_interrupted": ("refuse", "again"),
    "idempotency_unavailable": ("refuse", "run"),
    "idempotency_cookies": ("drop", "keep", "skip"),
}
_BOUNDS = {
    "idempotency_retention": (1.0, 31_536_000.0, "seconds from 1 to 31536000"),
    "idempotency_lease": (1.0, 3600.0, "seconds from 1 to 3600"),
    "idempotency_answer_max": (0, 67_108_864, "bytes from 0 to 67108864"),
    "idempotency_store_max": (1_048_576, 1 << 40, "bytes from 1048576 to 1099511627776"),
}


def _disallowed(name: str, value: object) -> str | None:
    """What is allowed, where the value is not."""
    if name in _BOUNDS:
        least, most, said = _BOUNDS[name]
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
        return None if least <= number <= most else said
    if name in _CHOICES:
        return None if value in _CHOICES[name] else " or ".join(_CHOICES[name])
    if name == "idempotency_callers":
        names = isinstance(value, tuple) and all(isinstance(one, str) and one for one in value)
        return None if names else "names of request headers"
    known = isinstance(value, str) and (value in ("auto", "off") or value.startswith(_SCHEMES))
    return None if known else "auto, off, or a URL that begins with " + ", ".join(_SCHEMES)
