"""The table of what is compared with whom, and how much of the peer's cost we allow ourselves.

A peer without a base is compared with all that it costs. The group "lag" compares the 99th percentile of an event
loop's lag, in time alone.
"""

from dataclasses import dataclass

__all__ = ["ROWS", "Row", "chosen"]


@dataclass(frozen=True)
class Row:
    """`ours` and `peer` are contenders; `target` is the most that added cost over added cost may be."""

    group: str
    name: str
    ours: str
    peer: str
    target: float | None = None


ROWS = (
    Row("inbound", "span", "ours", "contrib", 0.35),
    Row("inbound", "span-starlette", "ours", "starlette", 0.7),
    Row("inbound", "span-route", "ours", "contrib+route"),
    Row("inbound", "span-plain", "plain-ours", "plain-contrib"),
    Row("inbound", "span-read", "read-ours", "read-contrib", 0.35),
    Row("inbound", "protect", "protect", "contrib"),
    Row("inbound", "protect-starlette", "protect", "starlette"),
    Row("inbound", "protect-metrics", "protect-metrics", "contrib"),
    Row("inbound", "measured", "measured", "contrib"),
    Row("inbound", "deadline-metrics", "measured-deadline", "contrib", 0.5),
    Row("inbound", "deadline-instruments", "instruments-deadline", "contrib"),
    Row("inbound", "parts", "parts-all", "contrib", 0.5),
    Row("inbound", "parts-by-hand", "parts-all", "by-hand", 0.1),
    Row("inbound", "parts-off", "parts-all", "parts-none"),
    Row("inbound", "stream", "stream-protect", "stream-contrib", 1.0),
    Row("inbound", "sampled", "tenth-ours", "tenth-contrib", 0.25),
    Row("inbound", "sampled-starlette", "tenth-ours", "tenth-starlette"),
    *(
        Row("parts", f"part-{name}", f"part-{name}", "parts-none")
        for name in ("load", "deadline", "health", "body", "headers", "client")
    ),
    Row("export", "span-and-export", "export-ours", "export-contrib", 0.35),
    Row("export", "span-and-export-starlette", "export-ours", "export-starlette"),
    Row("export", "encode", "encode-ours", "encode-stock", 0.25),
    Row("export", "encode-own", "encode-ours-own", "encode-stock"),
    Row("outbound", "attempt", "call-span", "call-contrib"),
    Row("outbound", "all", "call-ours", "call-contrib", 1.05),
    Row("outbound", "all-stack", "call-ours", "call-stack", 0.85),
    Row("outbound", "pipeline", "call-pipeline", "call-bare", 0.1),
    Row("socket", "all-socket", "socket-ours", "socket-contrib", 1.05),
    Row("socket", "pipeline-socket", "socket-pipeline", "socket-bare", 0.1),
    Row("origins", "all-100", "call-ours-100", "call-contrib-100", 1.05),
    Row("origins", "all-10000", "call-ours-10000", "call-contrib-10000", 1.05),
    Row("origins", "pipeline-100", "call-pipeline-100", "call-bare-100", 0.1),
    Row("origins", "pipeline-10000", "call-pipeline-10000", "call-bare-10000", 0.1),
    Row("peers", "httpware", "call2-pipeline", "httpware"),
    Row("peers", "httpware-span", "call2-ours", "httpware-span"),
    Row("peers", "interlock", "call-pipeline", "interlock"),
    Row("peers", "interlock-span", "call-ours", "interlock-span"),
    Row("keyed", "without-key", "post-said", "post-keyed"),
    Row("keyed", "sqlite", "post-keyed-sqlite", "post-keyed"),
    Row("keyed", "replayed", "post-replayed", "post-keyed"),
    Row("logs", "line", "line-ids", "line"),
    Row("logs", "line-json", "line-json", "line"),
    Row("loop", "watch", "watched", "turns", 0.01),
    Row("lag", "lag", "lag-ours", "lag-noop", 2.0),
    Row("lag", "lag-store", "lag-store", "lag-noop", 2.5),
    Row("lag", "lag-stock", "lag-stock", "lag-noop"),
    Row("lag", "lag-contrib", "lag-contrib", "lag-noop"),
    Row("lag", "lag-off", "lag-noop", "lag-off"),
)


def chosen(groups: list[str], names: list[str]) -> list[Row]:
    """Rows of these groups and of these names; all of them where neither is given. ValueError for an unknown word."""
    for word, known in [(groups, {row.group for row in ROWS}), (names, {row.name for row in ROWS})]:
        unknown = sorted(set(word) - known)
        if unknown:
            raise ValueError(f"no {', '.join(unknown)} here: {', '.join(sorted(known))}")
    return [row for row in ROWS if (not groups or row.group in groups) and (not names or row.name in names)]
