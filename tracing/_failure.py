"""What a failure looks like on a span, whichever kind of span it is."""

from opentelemetry.trace import Span, StatusCode

from . import redact, semconv

__all__ = ["Error", "mark"]

Error = BaseException | str | None
"""An exception, or a word for error.type, or nothing went wrong."""


def mark(span: Span, error: Error, at: int | None = None, *, recorded: bool = False) -> None:
    """Put the error, if there is one, on the span; `at` is its time in nanoseconds, now where None.

    `recorded`: somebody made its event already.
    """
    if error is None:
        return
    if isinstance(error, str):
        span.set_attribute(semconv.ERROR_TYPE, error)
        span.set_status(StatusCode.ERROR)  # no description: the status code or error.type says it all
        return
    told = redact.exception(error)
    span.set_attribute(semconv.ERROR_TYPE, told["exception.type"])
    span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {told['exception.message']}")
    if isinstance(error, Exception) and not recorded:
        span.add_event("exception", told, at)
