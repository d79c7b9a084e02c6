"""What Jaeger has, against what the ledgers say must be there."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

__all__ = ["Verdict", "judge", "ledger"]

DEPTH = 5_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts over all traces; everything but the first four must be zero."""

    requests: int
    traces: int
    spans: int
    noted: int
    without_root: int
    several_roots: int
    orphans: int
    missing: int
    doubled: int
    strange: int
    """Traces in Jaeger that no ledger knows."""

    @property
    def clean(self) -> bool:
        return not (
            self.without_root or self.several_roots or self.orphans or self.missing or self.doubled or self.strange
        )


def ledger(lines: Iterable[str]) -> dict[str, set[str]]:
    """Span ids by trace id."""
    found: dict[str, set[str]] = {}
    for line in lines:
        trace_id, span_id, _ = line.split(" ", 2)
        found.setdefault(trace_id, set()).add(span_id)
    return found


def judge(requests: int, noted: Mapping[str, set[str]], stored: Mapping[str, list[tuple[str, str]]]) -> Verdict:
    """`stored` holds (span id, parent id) of each span by trace id, a span that came twice twice."""
    roots = {trace_id: sum(not parent for _, parent in spans) for trace_id, spans in stored.items()}
    orphans = doubled = 0
    for spans in stored.values():
        counts = Counter(span_id for span_id, _ in spans)
        doubled += sum(count - 1 for count in counts.values())
        orphans += sum(bool(parent) and parent not in counts for _, parent in spans)
    missing = sum(
        len(span_ids - {span_id for span_id, _ in stored.get(trace_id, ())}) for trace_id, span_ids in noted.items()
    )
    return Verdict(
        requests=requests,
        traces=len(stored),
        spans=sum(map(len, stored.values())),
        noted=sum(map(len, noted.values())),
        without_root=sum(count == 0 for count in roots.values()),
        several_roots=sum(count > 1 for count in roots.values()),
        orphans=orphans,
        missing=missing,
        doubled=doubled,
        strange=len(stored.keys() - noted.keys()),
    )


def read(client: httpx.Client, service: str, windows: Iterable[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """(span id, parent id) of all spans of the traces that have a span of `service` within the windows of time."""
    found: dict[str, list[tuple[str, str]]] = {}
    for start, end in windows:
        asked = {
            "query.service_name": service,
            "query.start_time_min": start,
            "query.start_time_max": end,
            "query.num_traces": str(DEPTH),
            "query.raw_traces": "true",
        }
        answer = client.get("/api/v3/traces", params=asked)
        if answer.status_code == 404:
            continue
        assert answer.status_code == 200, answer.text
        page = _by_trace(answer.json()["result"]["resourceSpans"])
        assert len(page) < DEPTH, "a window with more traces than one answer holds"
        # A trace comes whole in each window that it touches.
        found.update(page)
    return found


def _by_trace(parts: list[Any]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for part in parts:
        for scope in part["scopeSpans"]:
            for span in scope["spans"]:
                found.setdefault(span["traceId"], []).append((span["spanId"], span.get("parentSpanId", "")))
    return found
