"""The watch over the process's event loops, joined to its metrics.

There is one for the process's whole life: applications that are protected already hold the set that it looks at.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.metrics import Histogram, Meter

from .tracing import semconv
from .tracing.blocked import LoopWatch, OpenExchanges

if TYPE_CHECKING:
    from ._wire import Process

__all__ = ["end", "watch", "watched"]

_watch: LoopWatch | None = None


def watched(process: "Process", meter: Callable[[], Meter]) -> OpenExchanges | None:
    """`watch` as the settings of a process want it, until it is switched off."""
    opened = watch(process.settings.tracing.telling.blocked_loop, meter if process.measuring else None)
    if opened is not None and end not in process.undo:
        process.undo.append(end)
    return opened


def watch(bound: float, meter: Callable[[], Meter] | None) -> OpenExchanges | None:
    """Watch from now on, and count what is longer than `bound` seconds. Returns what `ServerSpans` wants.

    None where `bound` is 0: nothing is watched. `meter` is asked for at the first hold.
    """
    global _watch
    if not bound:
        return None
    if _watch is None:
        _watch = LoopWatch(bound)
    _watch.begin(bound, _counting(meter) if meter is not None else None)
    return _watch.open


def end() -> None:
    """Stop watching."""
    if _watch is not None:
        _watch.end()


def _counting(meter: Callable[[], Meter]) -> Callable[[float], None]:
    histogram: Histogram | None = None

    def count(seconds: float) -> None:
        nonlocal histogram
        if histogram is None:
            histogram = meter().create_histogram(
                *semconv.METRIC_LOOP_BLOCKED, explicit_bucket_boundaries_advisory=semconv.LOOP_BLOCKED_BOUNDARIES
            )
        histogram.record(seconds)

    return count
