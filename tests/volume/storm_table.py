"""What a storm came to, as lines of Markdown."""

from collections import Counter
from collections.abc import Sequence

from tests.volume.storm_load import Outcome
from tests.volume.storm_run import Storm

__all__ = ["costs", "heading", "row"]

_COLUMNS = (
    "last hop", "stack", "well before", "requests in the bad time", "calls at the last hop", "for each request",
    "answered in the bad time, median and p99 s", "open for", "all well again after", "well at the end",
)  # fmt: skip
_NAMES = {"handrail": "handrail", "naive": "three attempts at each hop"}
_MODES = {
    "refused": "gone: refuses connections",
    "silent": "silent: never answers",
    "failing": "failing: 503 to all",
    "sick": "sick: 503 to 2 of 5",
}


def heading() -> str:
    """The head of the table of storms."""
    return f"{_line(_COLUMNS)}\n{_line(['---'] * len(_COLUMNS))}"


def row(stack: str, mode: str, found: Storm) -> str:
    """One storm."""
    again = "never" if found.recovery is None else f"{found.recovery} s"
    share = f"{found.amplification:.4f}" if found.amplification < 0.1 else f"{found.amplification:.2f}"
    cells = [_MODES[mode], _NAMES[stack], f"{found.good_before:.1%}", f"{found.inbound:,}", f"{found.reached:,}", share]
    cells += [_answers(found.bad), f"{found.open_for:.0f} s" if found.open_for else "-", again]
    return _line([*cells, f"{found.good_after:.1%}"])


def costs(told: Sequence[tuple[str, str, Storm]]) -> str:
    """Milliseconds of processor time for each request that came in, by process: before the trouble / in it."""
    names = list(told[0][2].cost)
    lines = [("ms of processor time for a request", "stack", *names)]
    lines += [("---",) * len(lines[0])]
    for stack, mode, found in told:
        cells = [f"{before:.2f} / {bad:.2f}" for before, bad in found.cost.values()]
        lines.append((f"before / {_MODES[mode].partition(':')[0]}", _NAMES[stack], *cells))
    return "\n".join(map(_line, lines))


def _answers(outcomes: Sequence[Outcome]) -> str:
    """How many of each status, how fast."""
    counts = Counter(outcome.status for outcome in outcomes)
    said = []
    for status, count in counts.most_common(3):
        waited = sorted(outcome.seconds for outcome in outcomes if outcome.status == status)
        name = str(status) if status else "none"
        said.append(f"{name}: {count:,}, {waited[count // 2]:.3f} and {waited[int(count * 0.99)]:.3f}")
    return "; ".join(said)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
