"""What the breaker loads, and when."""

import subprocess
import sys

SERVICE = """
import sys
from handrail import protect

async def app(scope, receive, send): ...

protect(app)
assert "pybreaker" in sys.modules
before = set(sys.modules)
from handrail import _wire
from handrail.resilience.testing import ScriptedWire

entry = _wire.current().registry.pipeline("http", "payment", 8003)
for step in ["ok"] + [503] * 12:
    try:
        entry.pipeline.run_sync(ScriptedWire(step).call())
    except Exception as error:
        assert type(error).__name__ == "CircuitOpen", error
assert entry.breaker.state == "open"
late = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not late & {"pybreaker", "redis", "tornado"}, late
"""


def test_no_request_pays_for_what_pybreaker_imports() -> None:
    """The redis client, where one is installed, and the SDK with it come at the start, not on the loop."""
    done = subprocess.run([sys.executable, "-c", SERVICE], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
