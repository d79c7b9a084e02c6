"""The SDK's batch processor, with an end that takes as long as it is told and no longer."""

from opentelemetry.sdk.trace.export import BatchSpanProcessor

__all__ = ["Batch"]


class Batch(BatchSpanProcessor):
    """Sizes and delays come from OTEL_BSP_*."""

    def stop(self, seconds: float) -> None:
        """Export the queue and stop, within about `seconds`.

        The SDK's shutdown waits 30 s. Its limit is an argument of the part inside only, and that part needs no
        new thread, which Python 3.12 refuses at exit.
        """
        self._batch_processor.shutdown(timeout_millis=max(1, int(seconds * 1000)))
