"""What the SDK's exporters log while one of our exports runs comes to us, every time."""

import logging

from opentelemetry.exporter.otlp.proto.grpc import exporter

from handrail.tracing.export._sdk_log import listening


def test_the_second_failure_is_heard_as_the_first() -> None:
    """The gRPC exporter's logger drops a line that it has logged within 20 s, for spans and metrics alike: its reason
    is heard all the same.
    """
    log = logging.getLogger(exporter.__name__)
    heard: list[str] = []
    for destination in ("a", "b"):
        with listening(heard.append):
            log.error("Failed to export to %s, error code: %s", destination, "StatusCode.UNIMPLEMENTED")
    assert [message.split(",")[0] for message in heard] == ["Failed to export to a", "Failed to export to b"]
