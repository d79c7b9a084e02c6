"""What a probe is answered: `application/health+json` (draft-inadarei-api-health-check-06)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FAIL", "PASS", "WARN", "Check", "document", "worst"]

PASS, WARN, FAIL = "pass", "warn", "fail"
_RANK = (PASS, WARN, FAIL)


@dataclass(frozen=True, slots=True)
class Check:
    """One reason to be ready or not. `fail`: no requests should be sent here; `output` says why, where all is not well.

    `kind` is the draft's componentType: component, datastore or system.
    """

    name: str
    status: str = PASS
    output: str = ""
    kind: str = "component"


def worst(checks: Sequence[Check]) -> str:
    """The status of all together."""
    return max((check.status for check in checks), key=_RANK.index, default=PASS)


def document(checks: Sequence[Check], *, verbose: bool) -> bytes:
    """The body: the status alone, since strangers may ask; with `verbose` each check too."""
    told: dict[str, object] = {"status": worst(checks)}
    if verbose:
        told["checks"] = {check.name: [_told(check)] for check in checks}
    return json.dumps(told, ensure_ascii=False).encode()


def _told(check: Check) -> dict[str, str]:
    told = {"componentType": check.kind, "status": check.status}
    return {**told, "output": check.output} if check.output else told
