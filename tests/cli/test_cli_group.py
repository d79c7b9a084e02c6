"""The command itself: help without imports, clear ends."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from handrail.cli import main


def test_help_imports_no_command() -> None:
    """`--help` answers from a table; rich, the SDK and the clients stay unimported."""
    code = (
        "import sys\n"
        "from handrail.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('rich', 'httpx', 'opentelemetry.sdk', 'handrail.cli.doctor') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]", done.stderr
    assert {"doctor", "run", "traces"} <= {line.split()[0] for line in lines if line.startswith("  ") and line.strip()}


@pytest.mark.parametrize("name", ["chaos", "doctor", "run", "traces"])
def test_every_command_has_help(name: str) -> None:
    """Each name in the table is a command that can be loaded."""
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: main {name}")


def test_examples_of_run_keep_their_lines() -> None:
    """The examples in the help of `run` are not flowed into one paragraph."""
    lines = CliRunner().invoke(main, ["run", "--help"]).output.splitlines()
    assert "  handrail run python serve.py" in lines


def test_the_example_of_chaos_sign_is_one_line() -> None:
    """It can be copied: neither flowed into the text, nor with the mark that keeps it from that."""
    lines = CliRunner().invoke(main, ["chaos", "sign", "--help"]).output.splitlines()
    (example,) = (line for line in lines if "handrail chaos sign '" in line)
    assert example.startswith("  curl -H ")
    assert example.endswith("http://localhost:8001/orders")


def test_unknown_command() -> None:
    """A wrong command is wrong usage."""
    done = CliRunner().invoke(main, ["docter"])
    assert done.exit_code == 2
    assert "docter" in done.output
