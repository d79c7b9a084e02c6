"""What `handrail doctor` looks like to people: colour on a terminal, plain unwrapped lines in a pipe."""

import platform
import textwrap
from collections.abc import Iterable
from importlib import metadata
from math import inf
from pathlib import Path
from typing import cast

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .. import _settings_resolve as resolve
from .._settings_values import Kind
from ..resilience.origins import OriginRule
from ._answers_probe import Answers
from ._findings import SEVERITIES, Finding, Severity
from ._origins import OriginView
from ._probe import without_secret
from ._report import Report
from ._shared_probe import Shared

__all__ = ["show"]

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_LABEL = len("HR000 warning  ")
_PIPE_WIDTH = 10_000


def show(report: Report, console: Console | None = None) -> None:
    """Print the report; the findings come last, where the eye is when the prompt is back."""
    out = console or Console(highlight=False)
    if out.is_terminal:
        _all(out, report)
        return
    # grep and less want whole lines, and none of the blanks that fill a column.
    out.width = _PIPE_WIDTH
    with out.capture() as captured:
        _all(out, report)
    out.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _all(out: Console, report: Report) -> None:
    head = Text("handrail ", style="bold").append(metadata.version("handrail"))
    out.print(head.append(f"  Python {platform.python_version()}  {report.cwd}", style="dim"))
    _origin(out, report.app)
    _section(out, "Settings", _settings(report))
    if report.origin is not None:
        _section(out, f"Around each call to {report.origin.origin}", _one(report.origin, report.shared, every=True))
    else:
        _section(out, "Around each request", _nested((*report.inbound, "the app") if report.inbound else ()))
        _section(out, "Around each outbound call", _pipeline(report.policies, report.shared))
        for view in report.origins:
            _section(out, f"Around each call to {view.origin}", _one(view))
    if report.answers is not None:
        _section(out, "Answers to requests with an Idempotency-Key", _answers(report.answers))
    _section(out, "Spans", _spans(report))
    _section(out, "Libraries", _libraries(report, out.width))
    out.print()
    for finding in report.findings:
        _finding(out, finding)
    _total(out, report.findings)


def _origin(out: Console, app: str | None) -> None:
    """What is looked at, and what of a service is not seen by that."""
    if app is not None:
        said = f"as {app} has them after its import"
    else:
        said = (
            "as this folder and environment say; arguments of protect() are not seen: "
            "`handrail doctor module:app` imports the app and shows what is in force"
        )
    for line in textwrap.wrap(said, out.width, break_on_hyphens=False):
        out.print(Text(line, style="dim"), soft_wrap=True)


def _section(out: Console, title: str, body: Table | Group) -> None:
    out.print(Text(f"\n{title}", style="bold"))
    out.print(body)


def _grid(*styles: str) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=0)
    for style in styles:
        table.add_column(style=style, overflow="fold")
    return table


def _settings(report: Report) -> Table:
    table = _grid("", "bold", "")
    for name, kind in resolve.KINDS.items():
        origin = report.settings.origins[name]
        ours = origin.startswith("default")
        shown = _shown(name, report.value(name), kind)
        table.add_row("", name, shown, Text(origin, style="dim" if ours else "green"))
    return table


def _shown(name: str, value: object, kind: Kind) -> str:
    if kind is Kind.SECONDS and isinstance(value, float):
        return "no bound" if value == inf else f"{value:g} s"
    if isinstance(value, bool):
        return "true" if value else "false"
    if name.endswith("_max_bytes") and isinstance(value, int):
        return f"{value} ({value >> 20} MiB)"
    if isinstance(value, Path):
        return _short(value)
    if value in ((), ""):
        return "(none)"
    if kind is Kind.ORIGINS:
        return ", ".join(rule.pattern for rule in cast("tuple[OriginRule, ...]", value))
    if isinstance(value, tuple):
        return ", ".join(word if isinstance(word, str) else f"{word[0]}={_plain(word[1])}" for word in value)
    return _plain(value)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (RuntimeError, ValueError):
        return str(path)


def _nested(lines: tuple[str, ...]) -> Table:
    """Outermost first, each within the one before."""
    table = _grid("")
    for depth, line in enumerate(lines):
        table.add_row("", Padding(line, (0, 0, 0, 2 * depth), expand=False))  # a long line goes on below itself
    if not lines:
        table.add_row("", "nothing: handrail is off, or a setting is wrong (below)")
    return table


def _pipeline(policies: tuple[str, ...], shared: Shared | None = None) -> Table:
    table = _nested((*policies, "one CLIENT span > the wire") if policies else ())
    if policies and shared is not None:
        state = "reachable" if shared.reachable else "cannot be reached"
        table.add_row("", f"breakers shared through {shared.url} ({state}, quorum {shared.quorum})")
    return table


def _one(view: OriginView, shared: Shared | None = None, *, every: bool = False) -> Group:
    """`every`: also say that nothing is set, which is the answer to a question."""
    table = _grid("bold", "", "green")
    for one in view.settings:
        table.add_row("", one.name, _shown(one.name, one.value, resolve.KINDS[one.name]), one.origin)
    if every and not view.settings:
        table.add_row("", "", "all by default", "")
    return Group(_pipeline(view.pipeline, shared), *([table] if table.row_count else []))


def _answers(answers: Answers) -> Table:
    table = _grid("", "")
    table.add_row("", "kept in", answers.where if answers.reachable else f"{answers.where} (cannot be used)")
    return table


def _spans(report: Report) -> Table:
    tracing = report.settings.tracing
    table = _grid("", "")
    table.add_row("", "service", tracing.service_name)
    exporters = () if tracing.disabled or not report.settings.enabled else tracing.exporters
    if exporters and report.unusable:
        table.add_row("", "go to", f"unknown: {report.unusable} cannot be used (below)")
        exporters = ()
    elif not exporters:
        table.add_row("", "go to", "nowhere")
    for exporter in exporters:
        table.add_row("", "go to", _target(exporter, report))
    for name, value in report.variables.items():
        table.add_row("", name, value)
    for other in report.others:
        where = f" ({other.where})" if other.where else ""
        told = "" if other.state == "installed" else f"\n{other.does}"
        table.add_row("", f"also {other.state}", f"{other.name} {other.version}{where}{told}")
    return table


def _target(exporter: str, report: Report) -> str:
    tracing = report.settings.tracing
    bad = {finding.id for finding in report.findings}
    if exporter == "otlp":
        state = "does not take them" if "HR010" in bad else "reachable"
        return f"{without_secret(tracing.endpoint or '')} ({tracing.protocol}, {state})"
    if exporter == "local":
        state = "cannot be written" if "HR011" in bad else "writable"
        return f"{_short(tracing.store)} ({state}, at most {tracing.store_max_bytes >> 20} MiB)"
    return "the console"


def _libraries(report: Report, width: int) -> Table:
    table = _grid("")
    words = (f"{library.name} {library.version or 'missing'}" for library in report.libraries)
    for line in _flow(words, min(width, 100) - 4):
        table.add_row("", line)
    return table


def _flow(words: Iterable[str], width: int) -> list[str]:
    """Lay out the words in lines without breaking one."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 2 + len(word) <= width:
            lines[-1] += f"  {word}"
        else:
            lines.append(word)
    return lines


def _finding(out: Console, finding: Finding) -> None:
    label = f"{finding.id} {finding.severity}".ljust(_LABEL)
    _hanging(out, Text(label, style=_STYLES[finding.severity]), finding.what, "bold")
    for name, text in (("where", finding.where), ("mend", finding.mend)):
        _hanging(out, Text(" " * _LABEL + name.ljust(7), style="dim"), text, "")
    out.print()


def _hanging(out: Console, label: Text, text: str, style: str) -> None:
    """The label, then the text in a column of its own."""
    width = max(out.width - len(label), 20)
    lines = textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        head = label if number == 0 else Text(" " * len(label))
        out.print(Text.assemble(head, (line, style)), soft_wrap=True)


def _total(out: Console, findings: tuple[Finding, ...]) -> None:
    counts = [sum(finding.severity == severity for finding in findings) for severity in SEVERITIES]
    words = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in zip(SEVERITIES[:2], counts, strict=False)]
    style = _STYLES["error"] if counts[0] else _STYLES["warning"] if counts[1] else "bold green"
    out.print(Text(f"{', '.join(words)}, {counts[2]} info", style=style))
