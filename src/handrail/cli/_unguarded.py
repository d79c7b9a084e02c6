"""Connections past the policies, as the processes beside us have noted them."""

from .._unguarded_notes import Noted, noted
from ..tracing.settings import TracingSettings
from ._findings import Finding

__all__ = ["unguarded"]

_SHOWN = 5
"""Entries of each kind."""


def unguarded(settings: TracingSettings) -> list[Finding]:
    """One finding for each destination, the newest few: those at the ports of databases and the like come last.

    Of this service alone: other projects of this machine may have the same store, and are not what was asked about.
    """
    found: dict[str, Noted] = {}
    for entry in noted(settings.store):
        if entry.service == settings.service_name:
            found.setdefault(entry.note.target, entry)
    said = [entry for entry in found.values() if not entry.note.known]
    known = [entry for entry in found.values() if entry.note.known]
    return [_finding(entry) for entry in (*said[:_SHOWN], *known[:_SHOWN])]


def _finding(entry: Noted) -> Finding:
    note = entry.note
    where = f"{note.place}, in {entry.service or 'a process'}, {'pid' if entry.alive else 'ended, pid'} {entry.pid}"
    if note.known:
        return Finding(
            id="HR044",
            severity="info",
            what=f"connections to {note.target} pass no policy: timeouts and retries are those of its own client",
            where=where,
            mend=f'see that it has a timeout; destinations = ["{note.target}"] says that it is meant',
        )
    return Finding(
        id="HR043",
        severity="warning",
        what=f"connections to {note.target} pass no policy: no timeout, retry or breaker from handrail",
        where=where,
        mend=f'call it through httpx, aiohttp, requests or urllib3, or say destinations = ["{note.target}"]',
    )
