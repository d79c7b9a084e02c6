"""What each contender makes of one unit of work: a cheap span that says less would be no win."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from .worker import environment

__all__ = ["Collect", "Produced", "other", "produced"]


@dataclass(frozen=True)
class Produced:
    """Spans for each unit of work, and the first of them."""

    spans: float
    kind: str = ""
    name: str = ""
    attributes: tuple[str, ...] = ()
    other: str = ""

    def __str__(self) -> str:
        if self.other:
            return self.other
        if not self.kind:
            return "no span"
        each = "1 span" if self.spans == 1 else f"{self.spans:g} spans"
        return f"{each} each, {self.kind} {self.name!r}, {len(self.attributes)} attributes"


class Collect(SpanProcessor):
    """Keeps what ended."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Not of interest."""

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it."""
        self.ended.append(span)

    def told(self, times: int) -> str:
        """As JSON, for the process that asked."""
        if not self.ended:
            return json.dumps(asdict(Produced(0)))
        span = self.ended[0]
        attributes: Mapping[str, object] = span.attributes or {}
        return json.dumps(
            asdict(Produced(len(self.ended) / times, span.kind.name, span.name, tuple(sorted(attributes))))
        )


def other(text: str) -> str:
    """The same for what is no span."""
    return json.dumps(asdict(Produced(0, other=text)))


def produced(name: str) -> Produced:
    """Ask the contender of that name for some units of work, and look."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.worker", "show", name],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return Produced(found["spans"], found["kind"], found["name"], tuple(found["attributes"]), found["other"])
