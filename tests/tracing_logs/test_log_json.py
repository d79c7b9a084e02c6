"""Log lines as JSON."""

import io
import json
import logging
import logging.config
import logging.handlers
import queue
import re
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn.config
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import Tracer

from handrail.tracing import logs
from tests.tracing_logs.conftest import here


def line(text: str) -> dict[str, Any]:
    assert "\n" not in text
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def record(msg: object = "paid", *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("shop.orders", logging.WARNING, "app.py", 7, msg, args, None)
    vars(made).update(extra)
    return made


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger and uvicorn's, given back as they were."""
    known = [logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.access", "uvicorn.error")]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in known]
    for one in known:
        one.handlers.clear()
    yield known[0]
    for one, handlers, level, propagate in before:
        one.handlers[:] = handlers
        one.level, one.propagate = level, propagate


def test_the_names_are_stable():
    """The fields of a plain record: timestamp as RFC 3339 in UTC, severity, message, logger, then `extra`."""
    made = record("%s paid", "order", order=7)
    made.created = 1_700_000_000.25
    assert line(logs.JsonFormatter().format(made)) == {
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "severity": "WARNING",
        "message": "order paid",
        "logger": "shop.orders",
        "order": 7,
    }


def test_an_exception_is_taken_apart():
    """`exception` holds type, message and the whole stack trace, on the same line."""
    try:
        raise LookupError("no such\norder")
    except LookupError as error:
        made = record()
        made.exc_info = (LookupError, error, error.__traceback__)
    found = line(logs.JsonFormatter().format(made))["exception"]
    assert (found["type"], found["message"]) == ("LookupError", "no such\norder")
    assert re.match(r"Traceback .*test_log_json\.py.*LookupError: no such\norder\n$", found["stacktrace"], re.DOTALL)


def test_what_json_cannot_hold_is_written_as_repr():
    """Bytes, sets, NaN, odd keys, circles and objects whose repr raises: the line comes all the same."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    circle: list[object] = []
    circle.append(circle)
    extra: dict[str, Any] = {"raw": b"x", "odd": {(1, 2): 3}, "nan": float("nan"), "circle": circle, "bad": Broken()}
    found = line(logs.JsonFormatter().format(record(**extra)))
    assert found["raw"] == "b'x'"
    assert found["odd"] == "{(1, 2): 3}"
    assert found["nan"] == "nan"
    assert found["circle"] == "[[...]]"
    assert "Broken" in found["bad"]


def test_arguments_that_do_not_fit_lose_no_line():
    """A format with too few arguments is a line with both, where logging would print a traceback instead."""
    assert line(logs.JsonFormatter().format(record("%s %s", "one")))["message"] == "%s %s ('one',)"


def test_taken_names_are_kept_beside():
    """An `extra` with one of our names gets an underscore; nothing is lost, nothing of ours replaced."""
    found = line(logs.JsonFormatter().format(record(severity="mine", logger="mine", timestamp=1)))
    assert (found["severity"], found["severity_"], found["logger_"], found["timestamp_"]) == (
        "WARNING",
        "mine",
        "mine",
        1,
    )


@given(st.text(), st.dictionaries(st.text(min_size=1), st.one_of(st.text(), st.integers(), st.floats(), st.binary())))
def test_it_never_raises_and_is_one_ascii_line(text: str, extra: dict[str, Any]):
    """Any text and any extra, lone surrogates included, give one line that every stream can write."""
    made = record()
    vars(made).update({name: value for name, value in extra.items() if name not in vars(made)})
    made.msg = text
    written = logs.JsonFormatter().format(made)
    assert written.isascii()
    assert line(written)["message"] == text


def test_a_cleaner_sees_every_text():
    """Message, extra, exception and stack trace pass through `clean`."""
    try:
        raise ValueError("key s3cret")
    except ValueError as error:
        made = record("GET /?token=s3cret", url="https://s3cret@shop")
        made.exc_info = (ValueError, error, error.__traceback__)
    text = logs.JsonFormatter(clean=lambda words: words.replace("s3cret", "***")).format(made)
    assert "s3cret" not in text.replace('raise ValueError(\\"key s3cret\\")', "")
    assert text.count("***") >= 4


def test_the_setting_reaches_handlers_of_before_and_after(root: logging.Logger, tracer: Tracer):
    """Handlers that were there, and those that basicConfig adds later, write JSON with ids and service."""
    early, late = io.StringIO(), io.StringIO()
    root.addHandler(logging.StreamHandler(early))
    made = logs.install("shop", json=True)
    try:
        logging.basicConfig(stream=late, format="%(message)s", force=False)
        late_handler = logging.StreamHandler(late)
        root.addHandler(late_handler)
        with tracer.start_as_current_span("GET"):
            root.warning("x")
            trace_id, span_id = here()
    finally:
        made.undo()
    root.warning("plain")
    for stream in (early, late):
        first, second = stream.getvalue().splitlines()
        found = line(first)
        assert (found["trace_id"], found["span_id"], found["service"]) == (trace_id, span_id, "shop")
        assert second == "plain"


def test_uvicorns_own_logging_is_taken_too(root: logging.Logger, capsys: pytest.CaptureFixture[str]):
    """Uvicorn's dictConfig after us: its access line is JSON, with the words of the line as message."""
    made = logs.install("shop", json=True)
    try:
        logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)
        logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "10.0.0.7:1", "GET", "/x", "1.1", 200)
        logging.getLogger("uvicorn.error").info("up", extra={"color_message": "\x1b[1mup"})
    finally:
        made.undo()
    out, err = capsys.readouterr()
    assert line(out.strip())["message"] == '10.0.0.7:1 - "GET /x HTTP/1.1" 200'
    assert line(err.strip())["message"] == "up"
    assert "color_message" not in err


def test_what_the_service_wrote_itself_stays(root: logging.Logger):
    """A formatter class of the service, and handlers of third parties, write what they wrote."""

    class OwnFormatter(logging.Formatter):
        pass

    class OwnHandler(logging.StreamHandler[Any]):
        pass

    one, two = io.StringIO(), io.StringIO()
    mine = logging.StreamHandler(one)
    mine.setFormatter(OwnFormatter("mine: %(message)s"))
    root.addHandler(mine)
    root.addHandler(OwnHandler(two))
    made = logs.install("shop", json=True)
    try:
        root.warning("x")
    finally:
        made.undo()
    assert (one.getvalue(), two.getvalue()) == ("mine: x\n", "x\n")


def test_the_end_of_a_queue_writes_json_too(root: logging.Logger):
    """Behind a QueueListener, which calls its handlers without any logger, the line is JSON as well."""
    lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(lines, logging.StreamHandler(out := io.StringIO()))
    made = logs.install("shop", json=True)
    try:
        root.addHandler(logging.handlers.QueueHandler(lines))
        listener.start()
        root.warning("x")
        listener.stop()
    finally:
        made.undo()
    assert line(out.getvalue().strip())["message"] == "x"


def test_without_any_handler_warnings_are_json_too(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Where no logging is set up, Python's handler of last resort writes the warnings: as JSON."""
    monkeypatch.setattr(logging.getLogger("tests.bare"), "parent", None)
    made = logs.install("shop", json=True)
    try:
        logging.getLogger("tests.bare").warning("x")
    finally:
        made.undo()
    assert line(capsys.readouterr().err.strip())["message"] == "x"


def test_an_exception_that_came_through_a_queue():
    """QueueHandler turns the exception into text before it travels: the line has it as its stack trace."""
    made = record(exc_text="Traceback ...\nLookupError")
    assert line(logs.JsonFormatter().format(made))["exception"] == {"stacktrace": "Traceback ...\nLookupError"}


def test_fields_of_extra_that_are_secrets_are_hidden(root: logging.Logger):
    """With the setting: by their names, at any depth, as pairs, and in the repr of what JSON cannot hold."""

    class Client:
        def __repr__(self) -> str:
            return "Client(password='sesame')"

    made = logs.install("shop", json=True)
    stream = io.StringIO()
    root.handlers = [logging.StreamHandler(stream)]
    deep: dict[str, Any] = {"token": "sesame"}
    for _ in range(20):
        deep = {"within": [deep]}
    extra = {
        "access_token": "sesame",
        "headers": {"Authorization": "sesame", "accept": "*/*"},
        "pairs": [("cookie", "sesame"), (b"x-api-key", b"sesame"), ("accept", "*/*")],
        "client": Client(),
        "deep": deep,
        "code": 404,
    }
    try:
        root.warning("x", extra=extra, stack_info=True)
    finally:
        made.undo()
    assert "sesame" not in stream.getvalue()
    line = json.loads(stream.getvalue())
    assert (line["access_token"], line["code"]) == ("REDACTED", 404)
    assert line["headers"] == {"Authorization": "REDACTED", "accept": "*/*"}
    assert line["pairs"] == [["cookie", "REDACTED"], ["b'x-api-key'", "REDACTED"], ["accept", "*/*"]]
    assert extra["headers"] == {"Authorization": "sesame", "accept": "*/*"}
