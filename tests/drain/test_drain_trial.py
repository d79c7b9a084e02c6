"""SIGTERM under load, the short form: `python -m tests.drain.trial --times 20` is the long one."""

import asyncio
from pathlib import Path

from tests.drain.trial import trial


def test_no_request_is_lost_and_no_client_sees_an_error(tmp_path: Path) -> None:
    """Two replicas end once each under load: all that was begun is done and answered, and streams are told.

    Without load shedding, since a machine that is too slow for the load may refuse some of it.
    """
    found = asyncio.run(trial("uvicorn", 2, 60, tmp_path, wait=10, shedding=False))
    assert found.well, f"{found}\n{[log.read_text('utf-8', 'replace')[-2000:] for log in tmp_path.glob('*.log')]}"
    assert found.seen["answered"] > 100
    assert found.streams == {"stream told": 2, "socket told": 2}
    assert found.told == {"stream-told": 2, "socket-told": 2}
