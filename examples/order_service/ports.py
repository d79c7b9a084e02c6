"""Ports for servers that are started, stopped and started again, beside other runs on the same machine."""

import os
import random
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["free_ports"]

_claimed: set[int] = set()
_descriptor: int | None = None


def free_ports(count: int) -> list[int]:
    """Free ports below the range from which systems pick ports for outgoing connections.

    From within that range, a service that is down for a while might find its port taken. A port is
    given once in the life of a process, and to no other process that asks here meanwhile. Raises
    RuntimeError where hardly any is free.
    """
    found: list[int] = []
    for port in random.sample(range(20000, 32000), 2000):
        if len(found) == count:
            return found
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if _claim(port):
                found.append(port)
    raise RuntimeError("hardly any free port between 20000 and 32000")


def _claim(port: int) -> bool:
    """Lock the byte of this port in one file of the machine; the lock ends with the process."""
    global _descriptor
    if port in _claimed:
        return False
    _claimed.add(port)
    try:
        import fcntl  # not on Windows, where runs side by side are on their own
    except ImportError:
        return True
    try:
        if _descriptor is None:
            _descriptor = os.open(Path(tempfile.gettempdir()) / "handrail-ports", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # another user's file
        return True
    try:
        fcntl.lockf(_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True
