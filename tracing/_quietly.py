"""What somebody else's code raised under a request is told once and goes no further: a trace is worth no failure."""

import logging

__all__ = ["told"]

_log = logging.getLogger("handrail")

_MOST = 64
_told: set[tuple[str, type[BaseException]]] = set()


def told(what: str, error: BaseException, *, level: int = logging.ERROR) -> None:
    """Say that `what` failed, with the stack of `error`: the first time for each kind of error in this process."""
    kind = (what, type(error))
    if kind in _told or len(_told) >= _MOST:
        return
    _told.add(kind)
    _log.log(level, "%s: %s: %s; requests are not affected", what, type(error).__name__, error, exc_info=error)
