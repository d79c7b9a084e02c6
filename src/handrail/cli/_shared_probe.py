"""Whether the store of `shared_state` answers."""

from dataclasses import dataclass

from ..resilience.errors import SettingsError
from ..settings import Resolution
from ._findings import Finding

__all__ = ["Shared", "shared"]


@dataclass(frozen=True, slots=True)
class Shared:
    """Through what breakers are shared. `url` is without user, password and query."""

    url: str
    quorum: int
    reachable: bool


def shared(found: Resolution) -> tuple[Shared | None, list[Finding]]:
    """Ask the store once, for half a second at most for each step; nothing where none is set, or handrail is off."""
    url, quorum = found.settings.service.shared_state, found.settings.service.shared_quorum
    wrong = any(problem.name == "shared_state" for problem in found.problems)
    if not url or wrong or not found.settings.enabled:
        return None, []
    from ..resilience.state import _redis

    where = _redis.shown(url)
    try:
        why = _redis.reached(url)
    except SettingsError as error:
        mend = "pip install 'handrail[redis]', or correct HANDRAIL_SHARED_STATE"
        what = f"{error}: the service does not start with it"
        return Shared(where, quorum, False), [Finding(id="HR051", severity="error", what=what, where=where, mend=mend)]
    if not why:
        return Shared(where, quorum, True), []
    what = f"breakers are not shared, the store cannot be reached: {why}"
    mend = "start Redis, or correct HANDRAIL_SHARED_STATE; until then each breaker goes by its own calls"
    return Shared(where, quorum, False), [Finding(id="HR050", severity="warning", what=what, where=where, mend=mend)]
