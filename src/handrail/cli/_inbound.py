"""The layers around an application, in words: what `handrail doctor` says of them."""

from ..settings import Settings

__all__ = ["layers"]

_OFF = "off"


def layers(settings: Settings) -> tuple[str, ...]:
    """Outermost first, as `handrail._layers` puts them; what is off is left out. None where none can be put."""
    if settings.inbound.problems() or not settings.enabled:
        return ()
    own = settings.inbound
    found = (
        "" if settings.tracing.disabled else "SERVER span",
        _health(settings),
        f"Drain(not ready for {own.drain_wait:g} s, then {own.drain_timeout:g} s for what is under way)",
        _limits(settings),
        _shedding(settings),
        _deadline(settings),
        "ProblemDetails" if settings.problem_details else "",
        f"Chaos({'; '.join(settings.faults.chaos_faults)})" if settings.faults.chaos else "",
        _listed("SingleFlight", list(own.single_flight_routes)),
        "" if settings.idempotency.idempotency_store == _OFF else "KeptAnswers",
    )
    return tuple(layer for layer in found if layer)


def _health(settings: Settings) -> str:
    own = settings.inbound
    told = [path for path in (own.live_path, own.ready_path) if path != _OFF]
    if own.ready_requires and own.ready_path != _OFF:
        told.append(f"which requires {' and '.join(own.ready_requires)}")
    return _listed("Health", told)


def _limits(settings: Settings) -> str:
    own = settings.inbound
    told = (
        (own.headers_max, f"{own.headers_max} headers"),
        (own.body_max, f"{own.body_max} bytes of body"),
        (own.body_timeout, f"{own.body_timeout:g} s for its next piece"),
        (own.client_max, f"{own.client_max} at a time of one client"),
    )
    return _listed("Limits", [said for limit, said in told if limit])


def _shedding(settings: Settings) -> str:
    own = settings.inbound
    streams = f"at most {own.streams_max} streams" if own.streams_max else "any number of streams"
    if not own.load_shedding:
        return f"Streams({streams})"
    told = [f"at most {own.load_max} at a time", f"{own.load_queue} wait up to {own.load_queue_wait:g} s", streams]
    return _listed("LoadShedding", told + [f"{path} {level}" for path, level in own.priority_routes])


def _deadline(settings: Settings) -> str:
    service = settings.service
    cut = service.deadline_mode == "enforce" and settings.inbound.deadline_cancel
    return f"Deadline({service.deadline_mode}{', cancelled when it is spent' if cut else ''})"


def _listed(name: str, told: list[str]) -> str:
    return f"{name}({', '.join(told)})" if told else ""
