"""Whether the store of answers to keyed requests (`idempotency_store`) can be used."""

import threading
from dataclasses import dataclass

from .. import _replay
from ..resilience.errors import SettingsError
from ..settings import Resolution
from ._findings import Finding

__all__ = ["Answers", "answers"]

ANY = "*"
"""In the place of the file that protects the service, which is not known here."""
PATIENCE = 3.0
"""Seconds that the store has for an answer."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Where answers are kept. `where` is a path, or a URL without user, password and query."""

    where: str
    reachable: bool


def answers(found: Resolution) -> tuple[Answers | None, list[Finding]]:
    """Open the store once, as the service would; nothing where there is none. A file that is not there is not made."""
    wanted = found.settings.idempotency.idempotency_store
    wrong = any(problem.name.lower().endswith("idempotency_store") for problem in found.problems)
    if wanted == _replay.OFF or wrong or not found.settings.enabled:
        return None, []
    try:
        backend = _replay.backend(found.settings, ANY)()
    except SettingsError as error:
        mend = "install what is missing, or correct HANDRAIL_IDEMPOTENCY_STORE"
        what = f"{error}: the service does not start with it"
        return None, [Finding(id="HR053", severity="error", what=what, where="idempotency_store", mend=mend)]
    path = _replay.sqlite_path(found.settings, ANY)
    if path is not None and not path.exists() and any(above.is_dir() for above in path.parents[1:]):
        return Answers(str(path), True), []
    why = _opened(backend)
    if not why:
        return Answers(backend.shown, True), []
    what = f"requests with an Idempotency-Key are answered 503, their store cannot be used: {why}"
    mend = "start it, or correct HANDRAIL_IDEMPOTENCY_STORE; `off` if keys shall mean nothing"
    return Answers(backend.shown, False), [
        Finding(id="HR052", severity="warning", what=what, where=backend.shown, mend=mend)
    ]


def _opened(backend: "_replay.Backend") -> str:
    """Why it cannot be opened within the time, on one line; empty where it can."""
    said: list[str] = []

    def ask() -> None:
        try:
            backend.open()
            said.append("")
        except Exception as error:
            said.append(" ".join(f"{type(error).__name__}: {error}".split())[:300])
        finally:
            backend.close()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return said[0] if said else f"no answer within {PATIENCE:g} s"
