"""The settings file, changed while the service runs: what holds at once, what waits, and what a mistake does."""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import handrail
from handrail import _wire
from handrail._reload import Follower
from handrail.resilience import CircuitOpen
from handrail.resilience.testing import ScriptedWire
from handrail.tracing.testing import Spans
from tests.wiring.followed import Service, plain_app


def test_a_change_holds_for_the_next_call(service: Service) -> None:
    """General settings and those of an origin; one line says what is different, and an unchanged file says nothing."""
    service.start("attempts = 2\n")
    before = service.entry()
    assert service.change('attempts = 5\n[origins."http://peer"]\nattempts = 1\nbackoff_cap = 4\n') == [
        "INFO handrail.toml read again: attempts 2 -> 5, attempts 2 -> 1 (http://peer), backoff_cap 5 -> 4 (http://peer)"
    ]
    assert service.look() == []
    assert (service.entry().settings.attempts, service.entry("other").settings.attempts) == (1, 5)
    assert "Retry(1 attempts" in handrail.pipelines()["http://peer"]
    assert "Retry(2 attempts" in str(before.pipeline), "a call under way keeps what it began with"
    assert service.change("attempts = 5\n") == [
        "INFO handrail.toml read again: attempts 1 -> 5 (http://peer), backoff_cap 4 -> 5 (http://peer)"
    ]


def test_what_is_remembered_stays(service: Service) -> None:
    """An open circuit stays open, the budget stays spent; an origin that nothing changed for keeps its very entry."""
    service.start('[origins."http://peer"]\nattempts = 2\n')
    other = service.entry("other")
    before = service.entry()
    before.breaker.isolate()
    _ = before.state.keys  # what is learned of them, once there is a call that asks
    service.change('[origins."http://peer"]\nattempts = 3\n')
    now = service.entry()
    assert now is not before
    assert (now.state.budget, now.state.keys, now.state.permits, now.breaker) == (
        before.state.budget,
        before.state.keys,
        before.state.permits,
        before.breaker,
    )
    with pytest.raises(CircuitOpen):
        now.pipeline.run_sync(ScriptedWire("ok").call())
    assert service.entry("other") is other
    service.change('[origins."http://peer"]\nattempts = 3\nretry_budget = 0.5\n')
    assert service.entry().state.budget is not before.state.budget


def test_arguments_still_win(service: Service) -> None:
    """The file is the weaker source, as at the start."""
    service.start("attempts = 2\n", attempts=7)
    assert service.change("attempts = 3\nbackoff_cap = 4\n") == ["INFO handrail.toml read again: backoff_cap 5 -> 4"]
    assert service.entry().settings.attempts == 7


def test_the_same_protect_again_is_the_same(service: Service) -> None:
    """An app made later asks for what the first one asked for: what the file says meanwhile is no contradiction."""
    process = service.start("attempts = 2\n", attempts=7).process
    service.change('attempts = 3\nservice_name = "shop"\n')
    handrail.protect(plain_app, attempts=7)
    assert _wire.current() is process


def test_what_waits_for_a_restart_is_named(service: Service) -> None:
    """Tracing and what is built in at the start: one line; the rest of the file holds at once."""
    service.start("attempts = 2\n")
    assert service.change('attempts = 3\nservice_name = "shop"\nproblem_details = false\n') == [
        "INFO handrail.toml read again: attempts 2 -> 3",
        "WARNING handrail.toml has changed: problem_details, service_name will hold from the next start on",
    ]
    assert service.process.settings.tracing.service_name != "shop"
    assert service.process.settings.problem_details is True


def test_what_strict_lets_through_changes_at_once(service: Service) -> None:
    """A destination can be declared without a restart."""
    service.start("attempts = 2\n")
    assert service.change('attempts = 2\ndestinations = ["db:5432"]\n') == [
        "INFO handrail.toml read again: destinations none -> db:5432"
    ]
    assert service.process.settings.service.destinations == ("db:5432",)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("attempts = 0\n", "attempts = 0 (handrail.toml): must be a whole number from 1"),
        ("attempts = \n", "handrail.toml = "),
        ('[origins."a b"]\nattempts = 1\n', 'origins."a b"'),
        ("atempts = 2\n", "did you mean attempts?"),
    ],
)
def test_a_bad_file_changes_nothing(service: Service, bad: str, said: str) -> None:
    """The old settings stay; one warning with what is wrong, said once for the same content, and again for another."""
    service.start("attempts = 2\n")
    (line,) = service.change(bad)
    assert line.startswith(
        "WARNING handrail.toml has changed and cannot be used, the settings stay as they were: 1 setting cannot be used"
    )
    assert said in line
    assert service.entry().settings.attempts == 2
    os.utime(service.folder / "handrail.toml", ns=(1, 1))
    assert service.look() == []
    (other,) = service.change("backoff_base = -1\n")
    assert other != line
    assert service.change("attempts = 4\n") == ["INFO handrail.toml read again: attempts 2 -> 4"]
    assert service.change(bad) == [line]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "is a named pipe; a file is wanted"),
        (Path.mkdir, "is a folder; a file is wanted"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nowhere, which does not exist"),
        (lambda path: path.write_bytes(b"#" * (1024 * 1024 + 1)), "is longer than 1 MiB"),
    ],
    ids=["fifo", "folder", "broken link", "huge"],
)
def test_what_is_no_file_changes_nothing(service: Service, make: Callable[[Path], None], why: str) -> None:
    """The thread that follows waits for no pipe: one warning says what is there, and a file is read again after it."""
    service.start("attempts = 2\n")
    path = service.folder / "handrail.toml"
    path.rename(service.folder / "kept")
    make(path)
    (line,) = service.look()
    assert line.startswith("WARNING handrail.toml has changed and cannot be used, the settings stay as they were: ")
    assert line.endswith(why)
    assert service.look() == []
    assert service.entry().settings.attempts == 2
    (service.folder / "kept").write_text("attempts = 3\n")
    path.rename(service.folder / "odd")
    (service.folder / "kept").rename(path)
    assert service.look() == ["INFO handrail.toml read again: attempts 2 -> 3"]


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_file_that_vanishes_changes_nothing(service: Service, how: str) -> None:
    """Deleted, or cut to nothing by an editor that is about to write: said once; when it is back, it is read."""
    service.start("attempts = 2\n")
    path = service.folder / "handrail.toml"
    path.unlink() if how == "gone" else path.write_text("")
    assert service.look() == ["WARNING handrail.toml is gone or empty: the settings stay as they were"]
    assert service.look() == []
    assert service.entry().settings.attempts == 2
    assert service.change("attempts = 3\n") == ["INFO handrail.toml read again: attempts 2 -> 3"]


def test_a_file_is_read_when_it_has_settled(service: Service) -> None:
    """Changed between two looks, it is not read yet: somebody is writing."""
    service.start("attempts = 2\n")
    path = service.folder / "handrail.toml"
    path.write_text("attempts = 3\n")
    assert service.follower.look() is True
    path.write_text("attempts = 3\nbackoff_cap = 4\n")
    assert service.follower.look() is True
    assert service.entry().settings.attempts == 2
    assert service.follower.look() is False
    assert service.entry().settings.attempts == 3


def test_a_link_to_another_file_is_a_change(service: Service) -> None:
    """As Kubernetes mounts a ConfigMap: same size and time, another file."""
    for name in ("one", "two"):
        (service.folder / name).write_text(f"attempts = {len(name) - 1 if name == 'one' else 4}\n")
        os.utime(service.folder / name, ns=(5, 5))
    link = service.folder / "handrail.toml"
    link.symlink_to("one")
    handrail.protect(plain_app)
    (service.folder / "new").symlink_to("two")
    (service.folder / "new").replace(link)
    assert service.look() == ["INFO handrail.toml read again: attempts 2 -> 4"]


def test_pyproject_is_followed_too(service: Service) -> None:
    """And a handrail.toml that comes later hides it, as at the start."""
    service.start("[tool.handrail]\nattempts = 2\n", "pyproject.toml")
    assert service.change("[tool.handrail]\nattempts = 4\n", "pyproject.toml") == [
        "INFO pyproject.toml read again: attempts 2 -> 4"
    ]
    assert service.change("attempts = 5\n") == ["INFO handrail.toml read again: attempts 4 -> 5"]


def test_without_a_file_nothing_is_followed(spans: Spans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread, nothing to look at."""
    monkeypatch.chdir(tmp_path)
    handrail.protect(plain_app, attempts=2)
    process = _wire.current()
    assert process is not None
    assert process.follower is None


def _until(true: Callable[[], bool]) -> bool:
    ends = time.monotonic() + 60
    while not true():
        if time.monotonic() > ends:
            return False
        threading.Event().wait(0.01)
    return True


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "handrail-reload"]


def test_one_thread_follows_from_the_first_origin_on(service: Service) -> None:
    """None at the start, so that a server may fork; one, a daemon, when an origin is met; none after switching off."""
    service.start("attempts = 2\nreload_every = 0.01\n")
    assert _threads() == []
    service.entry()
    service.entry("other")
    (thread,) = _threads()
    assert thread.daemon
    (service.folder / "handrail.toml").write_text("attempts = 3\nreload_every = 0.01\n")
    assert _until(lambda: service.entry().settings.attempts == 3)
    _wire.switch_off()
    assert _until(lambda: _threads() == [])


def test_switched_off_by_its_setting(service: Service) -> None:
    """`reload_every = 0`: the file is read at the start alone."""
    service.start("attempts = 2\nreload_every = 0\n")
    service.entry()
    assert _threads() == []


def test_a_fault_of_its_own_ends_the_following_and_nothing_else(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong while it looks is one error in the log; the settings stay as they are."""

    def broken(_: Follower) -> bool:
        raise RuntimeError("cannot look")

    monkeypatch.setattr(Follower, "look", broken)
    service.start("attempts = 2\nreload_every = 0.01\n")
    service.entry()
    assert _until(lambda: _threads() == [])
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the settings stay as they are" in record.getMessage()
    assert service.entry().settings.attempts == 2


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_follows_by_itself(service: Service) -> None:
    """The thread stays behind in the parent; the child has one of its own."""
    service.start("attempts = 2\nreload_every = 0.01\n")
    service.entry()
    (service.folder / "handrail.toml").write_text("attempts = 3\nreload_every = 0.01\n")
    child = os.fork()
    if child == 0:
        os._exit(0 if _threads() and _until(lambda: service.entry().settings.attempts == 3) else 1)
    assert os.waitpid(child, 0)[1] == 0
