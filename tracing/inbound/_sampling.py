"""How many of the new traces that begin at a route are kept: `route_sampling`.

Only roots are decided here. A request that has a parent follows it, whatever its route says: half a trace is worse
than none. The decision is the standard TraceIdRatioBased one, so that it agrees with other services of that ratio.
"""

import copy
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..spans.tracer import LightTracer, light
from ._patterns import regex

__all__ = ["RouteRatios"]


class RouteRatios:
    """The tracers for the roots of one service, by path; `rates` are (pattern, 0 to 1), the first match counts."""

    def __init__(self, rates: Sequence[tuple[str, float]]) -> None:
        self._rates = [rate for _, rate in rates]
        # One group for each pattern; the group that matched is the first pattern that does.
        self._which = re.compile("|".join(f"({regex(pattern)})" for pattern, _ in rates), re.DOTALL).fullmatch
        self._made_for: LightTracer | None = None
        self._tracers: dict[float, tuple[Callable[[], None], LightTracer]] = {}

    def tracer(self, path: str, usual: LightTracer) -> LightTracer:
        """The tracer for a root with this path: `usual` where no pattern fits, or its sampler cannot be chosen."""
        match = self._which(path)
        if match is None or match.lastindex is None:
            return usual
        rate = self._rates[match.lastindex - 1]
        if self._made_for is not usual:
            self._tracers, self._made_for = {}, usual
        made = self._tracers.get(rate)
        if made is None:
            made = self._tracers[rate] = _beside(usual, rate)
        refresh, tracer = made
        refresh()
        return tracer


def _beside(usual: LightTracer, rate: float) -> tuple[Callable[[], None], LightTracer]:
    """The same tracer with another sampler; of a tracer that is not the SDK's nothing is known."""
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    original: Any = usual._tracer
    if sdk is None or not isinstance(original, sdk.Tracer):
        return (lambda: None), usual
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    made = copy.copy(original)
    made.sampler = TraceIdRatioBased(rate)

    def refresh() -> None:
        made.resource = original.resource  # new after a fork
        made.span_processor = original.span_processor

    return refresh, light(made)
