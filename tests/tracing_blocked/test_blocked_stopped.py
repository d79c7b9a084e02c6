"""A process that is really stopped and continued."""

import os
import signal
import subprocess
import sys
import threading

CHILD = """
import asyncio, time
from handrail.tracing.blocked import LoopWatch

told = []
watch = LoopWatch(0.1, told.append)

async def main():
    watch.open.add(object())
    print("open", flush=True)
    ends = time.monotonic() + 1.2
    while time.monotonic() < ends:
        await asyncio.sleep(0.01)
    print(told, flush=True)

asyncio.run(main())
"""


def test_sigstop_is_not_told():
    """SIGSTOP in the middle of a request, SIGCONT half a second later: nothing was held by the code."""
    pause = threading.Event()
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        pause.wait(0.2)
        os.kill(child.pid, signal.SIGSTOP)
        pause.wait(0.5)  # what a machine that sleeps does
        os.kill(child.pid, signal.SIGCONT)
        assert child.stdout.readline() == "[]\n"
