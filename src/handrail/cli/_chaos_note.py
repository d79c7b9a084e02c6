"""What `handrail doctor` says of faults on purpose: that they are on, or that they are written and do nothing."""

from ..settings import Settings
from ._findings import Finding

__all__ = ["chaos"]


def chaos(settings: Settings) -> list[Finding]:
    """The findings; none where nothing is set."""
    faults = settings.faults
    if faults.chaos:
        said = "; ".join(faults.chaos_faults) or "none by the settings"
        also = ", and what requests bring in a signed header" if faults.chaos_secret else ""
        return [
            Finding(
                id="HR060",
                severity="warning",
                what=f"chaos is on, faults are injected on purpose: {said}{also}",
                where=settings.origins.get("chaos", "default"),
                mend="take chaos away, unless this is a trial",
            )
        ]
    if faults.chaos_faults or faults.chaos_secret:
        name = "chaos_faults" if faults.chaos_faults else "chaos_secret"
        return [
            Finding(
                id="HR061",
                severity="info",
                what=f"{name} does nothing: chaos is off",
                where=settings.origins.get(name, "default"),
                mend=f"set chaos to true for a trial, or take {name} away",
            )
        ]
    return []
