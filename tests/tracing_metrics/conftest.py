"""What the tests of metrics share."""

import threading
from collections.abc import Iterator

import pytest

from tests.tracing_metrics.metrics_collector import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
