"""One warning a minute about a collector, whichever signal does not reach it."""

from handrail.tracing.export._quiet import Quiet, of_collector


def test_one_a_minute() -> None:
    """A second warning is due a minute after the first, not before."""
    quiet = Quiet()
    assert [quiet.due(now) for now in (0.0, 0.1, 59.9, 60.0, 61.0, 120.0)] == [True, False, False, True, False, True]


def test_spans_and_metrics_share_the_news_of_their_collector() -> None:
    """Addresses of one host and port share it, whatever the path; another port has its own."""
    spans = of_collector("http://c.test:4318/v1/traces")
    assert of_collector("http://c.test:4318/v1/metrics") is spans
    assert of_collector("http://c.test:4317") is not spans
