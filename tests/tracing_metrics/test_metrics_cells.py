"""Cells: nothing lost, nothing doubled, nothing without bound."""

import os
import sys
import threading

from handrail.tracing.metrics._cells import BOUNDS, LIMIT, Table
from handrail.tracing.metrics._http import OVERFLOW, ServerTable, under_way
from tests.tracing_metrics.meters import span

NOBODY = span(sampled=False)


def one(table: ServerTable, route: str | None = "/a", seconds: float = 0.02) -> None:
    table.begin("GET", "http")
    table.end("GET", "http", route, 200, None, "1.1", seconds, NOBODY)


def total(table: ServerTable) -> int:
    return sum(sum(series.counts) for series in table.table.series().values())


def test_the_boundary_belongs_to_the_bucket_below() -> None:
    """OTLP: a bucket holds values up to and including its upper bound."""
    table = ServerTable()
    for seconds in (BOUNDS[0], BOUNDS[0] + 1e-9, BOUNDS[-1] + 1):
        one(table, seconds=seconds)
    (series,) = table.table.series().values()
    assert [at for at, count in enumerate(series.counts) if count] == [0, 1, len(BOUNDS)]
    assert abs(series.total - (2 * BOUNDS[0] + BOUNDS[-1] + 1)) < 1e-6


def test_threads_lose_nothing() -> None:
    """Eight threads that switch as often as they can, while a reader collects: every observation is there, once."""
    table, each, done = ServerTable(), 3000, threading.Event()

    def work() -> None:
        for at in range(each):
            one(table, route=f"/{at % 7}", seconds=0.5)

    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            series = table.table.series()
            seen.append(sum(sum(found.counts) for found in series.values()))
            active = under_way(table.table.begun(), ((key, sum(found.counts)) for key, found in series.items()))
            assert all(count >= 0 for count in active.values())

    pace = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        reader = threading.Thread(target=read)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in (reader, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        reader.join()
    finally:
        sys.setswitchinterval(pace)
    assert total(table) == 8 * each
    assert seen == sorted(seen)
    assert sum(found.total for found in table.table.series().values()) == 8 * each * 0.5
    assert sum(table.table.begun().values()) == 8 * each


def test_threads_that_end_leave_their_counts_and_no_shards() -> None:
    """A service that makes a thread per call is counted, and does not grow by it."""
    table = ServerTable()
    for _ in range(300):
        thread = threading.Thread(target=one, args=(table,))
        thread.start()
        thread.join()
    assert total(table) == 300
    assert table.table.begun() == {("GET", "http"): 300}
    assert len(table.table._shards) <= 1


def test_the_limit_of_attribute_sets() -> None:
    """Beyond the limit all that is new shares one series, and the count of what is under way stays right."""
    table = ServerTable()
    for at in range(LIMIT + 500):
        one(table, route=f"/{at}")
    series = table.table.series()
    assert len(series) == LIMIT + 1
    assert sum(series["GET", "http", OVERFLOW, 0, None, ""].counts) == 500
    assert total(table) == LIMIT + 500
    one(table, route="/3")
    assert sum(table.table.series()["GET", "http", "/3", 200, None, "1.1"].counts) == 2
    active = under_way(table.table.begun(), ((key, sum(found.counts)) for key, found in table.table.series().items()))
    assert active == {("GET", "http"): 0}


def test_what_a_stranger_sends_makes_no_series() -> None:
    """Ten thousand made-up methods are `_OTHER`, and unmatched paths have no route: one series, few cells."""
    table = ServerTable()
    for at in range(10_000):
        table.begin(f"X{at}", "http")
        table.end(f"X{at}", "http", None, 404, None, "1.1", 0.001, NOBODY)
    assert list(table.table.series()) == [("_OTHER", "http", None, 404, None, "1.1")]
    assert table.table.begun() == {("_OTHER", "http"): 10_000}
    assert len(table.table.here.cells) == 1


def test_one_exemplar_per_bucket_and_collection() -> None:
    """The first sampled request of a bucket is kept; unsampled ones never are; the next collection starts anew."""
    table = ServerTable()
    table.end("GET", "http", "/a", 200, None, "1.1", 0.02, NOBODY)
    for trace_id in (1, 2):
        table.end("GET", "http", "/a", 200, None, "1.1", 0.02, span(trace_id=trace_id))
    (series,) = table.table.series().values()
    assert [found[2] for found in series.exemplars if found] == [1]
    table.end("GET", "http", "/a", 200, None, "1.1", 0.02, span(trace_id=3))
    (series,) = table.table.series().values()
    assert [found[2] for found in series.exemplars if found] == [3]


def test_no_exemplars_where_they_are_off() -> None:
    """OTEL_METRICS_EXEMPLAR_FILTER=always_off."""
    table = ServerTable(exemplars=False)
    table.end("GET", "http", "/a", 200, None, "1.1", 0.02, span())
    (series,) = table.table.series().values()
    assert not any(series.exemplars)


def test_a_forked_child_starts_from_nothing() -> None:
    """The parent goes on counting what it has counted: in the child it would be there twice."""
    table: Table[str] = Table(lambda key: key)
    table.cell("a").add(0.1, None)
    os.register_at_fork(after_in_child=table.reset)
    pid = os.fork()
    if pid == 0:
        empty = not table.series()
        table.cell("b").add(0.1, None)
        os._exit(0 if empty and list(table.series()) == ["b"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(table.series()) == ["a"]
