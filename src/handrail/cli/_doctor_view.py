"""What `handrail doctor` looks like to people: colour on a terminal, plain unwrapped text in a pipe."""

import platform
from importlib import metadata
from math import inf

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import _settings_resolve as resolve
from .._settings_values import Kind
from ..settings import Settings
from ._findings import SEVERITIES, Finding, Severity
from ._probe import without_secret
from ._report import Report

__all__ = ["show"]

_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_PIPE_WIDTH = 10_000


def show(report: Report, console: Console | None = None) -> None:
    """Print the report; the findings come last, where the eye is when the prompt is back."""
    out = console or Console(highlight=False, soft_wrap=False)
    if not out.is_terminal:
        # grep and less want whole lines.
        out.width = _PIPE_WIDTH
    head = Text("handrail ", style="bold").append(metadata.version("handrail"))
    out.print(head.append(f"  Python {platform.python_version()}  {report.cwd}", style="dim"))
    _section(out, "Settings", _settings(report.settings))
    _section(out, "Around each outbound call", _pipeline(report))
    _section(out, "Spans", _spans(report))
    _section(out, "Libraries", _libraries(report))
    out.print()
    _findings(out, report.findings)


def _section(out: Console, title: str, body: Table) -> None:
    out.print()
    out.print(Text(title, style="bold"))
    out.print(body)


def _grid(*columns: str) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=0)
    for style in columns:
        table.add_column(style=style, overflow="fold")
    return table


def _settings(settings: Settings) -> Table:
    table = _grid("", "bold", "")
    for name, kind in resolve.KINDS.items():
        origin = settings.origins[name]
        ours = origin.startswith("default")
        table.add_row("", name, _shown(settings.value(name), kind), Text(origin, style="dim" if ours else "green"))
    return table


def _shown(value: object, kind: Kind) -> str:
    if kind is Kind.SECONDS and isinstance(value, float):
        return "no bound" if value == inf else f"{value:g} s"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _pipeline(report: Report) -> Table:
    table = _grid("")
    if not report.policies:
        table.add_row("", "nothing: handrail is off, or a setting is wrong (below)")
        return table
    for depth, policy in enumerate((*report.policies, "one CLIENT span > the wire")):
        table.add_row("", "  " * depth + policy)
    return table


def _spans(report: Report) -> Table:
    tracing = report.settings.tracing
    table = _grid("", "")
    table.add_row("", "service", tracing.service_name)
    if tracing.disabled or not tracing.exporters:
        table.add_row("", "go", "nowhere")
    for exporter in tracing.exporters if not tracing.disabled else ():
        table.add_row("", "go to", _target(exporter, report))
    for name, value in report.variables.items():
        table.add_row("", name, value)
    for name, version, state in report.tracers:
        table.add_row("", f"also {state}", f"{name} {version}")
    return table


def _target(exporter: str, report: Report) -> str:
    tracing = report.settings.tracing
    bad = {finding.id for finding in report.findings}
    if exporter == "otlp":
        state = "does not take them" if "HR010" in bad else "reachable"
        return f"{without_secret(tracing.endpoint or '')} ({tracing.protocol}, {state})"
    if exporter == "local":
        state = "cannot be written" if "HR011" in bad else "writable"
        return f"{tracing.store} ({state}, at most {tracing.store_max_bytes >> 20} MiB)"
    return "the console"


def _libraries(report: Report) -> Table:
    table = _grid("", "", "dim")
    for library in report.libraries:
        needs = f"needs {library.required}" if library.required else ""
        table.add_row("", library.name, library.version or "missing", needs)
    return table


def _findings(out: Console, findings: tuple[Finding, ...]) -> None:
    if not findings:
        out.print(Text("Nothing is wrong.", style="bold green"))
        return
    for finding in findings:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        head = Text(f"{finding.id} {finding.severity}", style=_STYLES[finding.severity])
        table.add_row(head, Text(finding.what))
        table.add_row(Text("where", style="dim"), Text(finding.where))
        table.add_row(Text("mend", style="dim"), Text(finding.mend))
        out.print(table)
    counts = [(severity, sum(f.severity == severity for f in findings)) for severity in SEVERITIES]
    words = [
        f"{count} {severity}{'s' if count > 1 and severity != 'info' else ''}" for severity, count in counts if count
    ]
    out.print(Text(", ".join(words), style=_STYLES[findings[0].severity]))
