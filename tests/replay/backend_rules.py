"""What each store must do, whatever it is made of: inherit `BackendRules`, and `BoundRules` where it has a bound.

    class TestMine(BackendRules):
        @pytest.fixture
        def rig(self) -> Iterator[Rig]: ...

No rule needs that a short lease is still alive: a store on a busy machine may be late by any time.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from handrail.resilience.replay.work import Backend, Begin, Free, Held, Keep, Renew, State, Work

__all__ = ["LONG", "SHORT", "BackendRules", "BoundRules", "Rig", "begin", "key_of", "only"]

LONG = 600.0
"""Seconds that no test lasts."""
SHORT = 0.05
"""Seconds that are over after `Rig.wait`."""


@dataclass
class Rig:
    """A store that is empty at first.

    `make`: one more connection to it, not opened, as another process would have it. `wait`: lets the store's own
    time pass by so many seconds at least: by its clock, or by polling the server's until it says so. `bounded`:
    one more connection with that many bytes of answers as its bound.
    """

    make: Callable[[], Backend]
    wait: Callable[[float], None]
    bounded: Callable[[int], Backend] | None = None
    examples: int = 50
    """How many sequences the comparison with the model tries."""

    def opened(self) -> Backend:
        """One more connection."""
        backend = self.make()
        backend.open()
        return backend

    def pass_short(self) -> None:
        """All that is SHORT is over."""
        self.wait(SHORT * 2)


def key_of(number: int) -> bytes:
    """A key of 32 bytes."""
    return number.to_bytes(32, "big")


def begin(
    number: int, owner: str = "a", *, lease: float = LONG, retention: float = LONG, take_over: bool = False
) -> Begin:
    """Take the key of that number."""
    return Begin(key_of(number), owner, lease, retention, take_over)


def keep(number: int, answer: bytes, owner: str = "a", *, retention: float = LONG) -> Keep:
    """Put an answer down."""
    return Keep(key_of(number), owner, answer, retention)


def only(backend: Backend, work: Work) -> Held | bool:
    """The result of a batch of one."""
    results = backend.run([work])
    assert len(results) == 1, results
    return results[0]


def same(one: object, other: object) -> None:
    """Tell what differs: this file is not a test file, and its asserts say nothing by themselves."""
    assert one == other, f"{one!r} is not {other!r}"


def is_busy(found: Held | bool) -> None:
    """Somebody is at work, for at most LONG."""
    assert isinstance(found, Held), found
    same(found.state, State.BUSY)
    assert 0 < found.left <= LONG + 0.001, found  # a float is not exact


def state(backend: Backend, number: int, owner: str = "z") -> State:
    """What somebody else finds."""
    found = only(backend, begin(number, owner))
    assert isinstance(found, Held), found
    return found.state


NEW = Held(State.NEW)


class BackendRules:
    """One class for each store gives `rig`."""

    def test_a_key_is_new_once_and_then_busy(self, rig: Rig) -> None:
        """Whoever comes first has it; the others are told for how long at most."""
        backend = rig.opened()
        same(only(backend, begin(1)), NEW)
        is_busy(only(backend, begin(1, "b")))
        is_busy(only(backend, begin(1, "c", take_over=True)))

    def test_the_same_begin_twice_is_new_twice(self, rig: Rig) -> None:
        """The first answer may have been lost on its way."""
        backend = rig.opened()
        same(backend.run([begin(1), begin(1)]), [NEW, NEW])
        same(only(rig.opened(), begin(1)), NEW)

    def test_a_kept_answer_is_what_all_find(self, rig: Rig) -> None:
        """Byte for byte, also its owner, also empty and large ones, and for keys of any bytes."""
        backend = rig.opened()
        answers = [b"", b"\x00", bytes(range(256)) * 4096, b'{"caf\xc3\xa9": "\xff"}']
        for number, answer in enumerate(answers):
            same(only(backend, begin(number)), NEW)
            same(only(backend, keep(number, answer)), True)
        other = rig.opened()
        for number, answer in enumerate(answers):
            for owner in ("a", "b"):
                same(only(other, begin(number, owner, take_over=True)), Held(State.KEPT, answer))

    def test_keep_twice_is_true_twice_and_the_first_stays(self, rig: Rig) -> None:
        """What was given to one caller is what all get."""
        backend = rig.opened()
        same(backend.run([begin(1), keep(1, b"one"), keep(1, b"two")]), [NEW, True, True])
        same(only(backend, begin(1, "b")), Held(State.KEPT, b"one"))

    def test_nobody_keeps_frees_or_renews_what_is_not_his(self, rig: Rig) -> None:
        """A stranger's work is refused and changes nothing; so is work on a key that is not there."""
        backend = rig.opened()
        strange: list[Work] = [
            keep(1, b"no", "b"),
            Free(key_of(1), "b"),
            Renew(key_of(1), "b", SHORT),
        ]
        same(backend.run(strange), [False] * 3)
        same(only(backend, begin(1)), NEW)
        same(backend.run(strange), [False] * 3)
        rig.pass_short()
        is_busy(only(backend, begin(1, "c")))
        same(only(backend, keep(1, b"mine")), True)
        same(backend.run(strange), [False] * 3)
        same(only(backend, begin(1, "c")), Held(State.KEPT, b"mine"))

    def test_a_freed_key_is_new_for_the_next(self, rig: Rig) -> None:
        """A failed request may be sent again; to free it twice is no more than once."""
        backend = rig.opened()
        same(backend.run([begin(1), Free(key_of(1), "a"), Free(key_of(1), "a")]), [NEW, True, False])
        same(only(backend, keep(1, b"late")), False)
        same(only(backend, begin(1, "b")), NEW)
        same(only(backend, Free(key_of(1), "a")), False)
        same(state(backend, 1), State.BUSY)

    def test_what_is_kept_is_neither_freed_nor_renewed(self, rig: Rig) -> None:
        """Not even by its owner: the truth stays."""
        backend = rig.opened()
        backend.run([begin(1), keep(1, b"x")])
        same(backend.run([Free(key_of(1), "a"), Renew(key_of(1), "a", LONG)]), [False, False])
        same(state(backend, 1), State.KEPT)

    def test_a_lease_that_is_over_is_broken_for_all(self, rig: Rig) -> None:
        """Nobody knows whether it was carried out, and asking does not change that."""
        backend = rig.opened()
        backend.run([begin(1, lease=SHORT)])
        rig.pass_short()
        for owner in ("b", "b", "c"):
            same(only(backend, begin(1, owner)), Held(State.BROKEN))

    def test_a_broken_key_is_taken_over_by_one(self, rig: Rig) -> None:
        """He is told that he comes again, also where he has to ask twice; the others find him at work."""
        backend = rig.opened()
        backend.run([begin(1, lease=SHORT)])
        rig.pass_short()
        again = Held(State.NEW, again=True)
        same(only(backend, begin(1, "b", take_over=True)), again)
        is_busy(only(backend, begin(1, "c", take_over=True)))
        same(only(backend, begin(1, "b", take_over=True)), again)
        same(only(backend, keep(1, b"b's", "b")), True)
        same(only(backend, begin(1, "c")), Held(State.KEPT, b"b's"))

    def test_whoever_lost_his_key_cannot_touch_it(self, rig: Rig) -> None:
        """After a take-over neither his answer nor his sign of life counts."""
        backend = rig.opened()
        backend.run([begin(1, lease=SHORT)])
        rig.pass_short()
        same(only(backend, begin(1, "b", take_over=True)), Held(State.NEW, again=True))
        work: list[Work] = [keep(1, b"late"), Renew(key_of(1), "a", LONG), Free(key_of(1), "a")]
        same(backend.run(work), [False] * 3)
        is_busy(only(backend, begin(1, "a", take_over=True)))

    def test_a_late_answer_replaces_broken(self, rig: Rig) -> None:
        """Where nobody took over, the truth is welcome at any time; so is the news that it failed."""
        backend = rig.opened()
        backend.run([begin(1, lease=SHORT), begin(2, lease=SHORT)])
        rig.pass_short()
        same([state(backend, 1), state(backend, 2)], [State.BROKEN] * 2)
        same(backend.run([keep(1, b"truth"), Free(key_of(2), "a")]), [True, True])
        same(only(backend, begin(1, "b")), Held(State.KEPT, b"truth"))
        same(only(backend, begin(2, "b")), NEW)

    def test_a_sign_of_life_sets_the_lease_anew(self, rig: Rig) -> None:
        """From now on, longer or shorter, also where it was over and nobody had taken over."""
        backend = rig.opened()
        backend.run([begin(1, lease=SHORT)])
        same(only(backend, Renew(key_of(1), "a", LONG)), True)
        rig.pass_short()
        same(state(backend, 1), State.BUSY)
        same(only(backend, Renew(key_of(1), "a", SHORT)), True)
        rig.pass_short()
        same(state(backend, 1), State.BROKEN)
        same(only(backend, Renew(key_of(1), "a", LONG)), True)
        same(state(backend, 1), State.BUSY)

    def test_all_is_forgotten_after_the_retention(self, rig: Rig) -> None:
        """Kept and broken alike, whether or not anybody tidied: the next is NEW, and not `again`."""
        backend = rig.opened()
        backend.run([begin(1), keep(1, b"x", retention=SHORT), begin(2, lease=SHORT, retention=SHORT)])
        rig.pass_short()
        same(backend.run([begin(1, "b"), begin(2, "b", take_over=True)]), [NEW, NEW])

    def test_a_key_at_work_is_not_forgotten(self, rig: Rig) -> None:
        """A retention shorter than the lease would let a request run twice at once."""
        backend = rig.opened()
        backend.run([begin(1, retention=SHORT), begin(2, lease=SHORT, retention=SHORT)])
        # The machine may be slow: the second may be gone before it was renewed.
        renewed = only(backend, Renew(key_of(2), "a", LONG))
        rig.pass_short()
        backend.tidy()
        same(state(backend, 1), State.BUSY)
        same(state(backend, 2), State.BUSY if renewed else State.NEW)

    def test_a_batch_is_done_in_its_order(self, rig: Rig) -> None:
        """Each piece sees what those before it did, also to the same key."""
        backend = rig.opened()
        results = backend.run(
            [
                begin(1),
                begin(2, "b"),
                Free(key_of(1), "a"),
                begin(1, "c"),
                keep(1, b"c's", "c"),
                begin(1, "a"),
                Renew(key_of(2), "b", LONG),
                keep(3, b"nobody's"),
                begin(3),
            ]
        )
        same(results, [NEW, NEW, True, NEW, True, Held(State.KEPT, b"c's"), True, False, NEW])

    def test_a_large_batch_and_an_empty_one(self, rig: Rig) -> None:
        """A result for each piece, at its place."""
        backend = rig.opened()
        same(backend.run([]), [])
        work: list[Work] = []
        for number in range(500):
            work += [begin(number), keep(number, b"%d" % number)]
        same(backend.run(work), [NEW, True] * 500)
        found = backend.run([begin(number, "b") for number in reversed(range(500))])
        same(found, [Held(State.KEPT, b"%d" % number) for number in reversed(range(500))])

    def test_all_who_share_a_store_tell_the_same_identity(self, rig: Rig) -> None:
        """However many come first at once, and however often each opens."""
        told: list[str] = []
        start = threading.Barrier(8)

        def come() -> None:
            backend = rig.make()
            start.wait(60)
            told.extend([backend.open(), backend.open()])
            backend.close()

        in_threads([come] * 8)
        same(len(told), 16)
        same(len(set(told)), 1)
        assert len(told[0]) >= 16, told
        assert set(told[0]) <= set("0123456789abcdef"), told

    def test_of_many_at_once_one_has_the_key(self, rig: Rig) -> None:
        """Eight connections that race for fifty keys: each is NEW once; a broken one is taken over once."""
        first = rig.opened()
        first.run([begin(number, "dead", lease=SHORT) for number in range(100, 150)])
        rig.pass_short()
        found: dict[str, list[Held | bool]] = {}
        start = threading.Barrier(8)

        def race(owner: str) -> None:
            backend = rig.opened()
            start.wait(60)
            found[owner] = [only(backend, begin(number, owner)) for number in range(50)]
            found[owner] += backend.run([begin(number, owner, take_over=True) for number in range(100, 150)])
            backend.close()

        in_threads([partial(race, f"racer{number}") for number in range(8)])
        same(len(found), 8)
        for number in range(100):
            states = [results[number] for results in found.values()]
            same(states.count(Held(State.NEW, again=number >= 50)), 1)
            for other in states:
                if other != Held(State.NEW, again=number >= 50):
                    is_busy(other)

    def test_tidying_forgets_nothing_that_counts(self, rig: Rig) -> None:
        """What is kept, at work or broken stays until its retention ends."""
        backend = rig.opened()
        work: list[Work] = [begin(1), begin(2), keep(2, b"x"), begin(3, lease=SHORT)]
        work += [begin(number, lease=SHORT, retention=SHORT) for number in range(10, 60)]
        backend.run(work)
        rig.pass_short()
        backend.tidy()
        same([state(backend, number) for number in (1, 2, 3)], [State.BUSY, State.KEPT, State.BROKEN])
        same([state(backend, number) for number in range(10, 60)], [State.NEW] * 50)

    def test_closing_is_always_allowed(self, rig: Rig) -> None:
        """Twice, before it was opened, and after it the store opens and works again."""
        backend = rig.make()
        backend.close()
        identity = backend.open()
        backend.run([begin(1)])
        backend.close()
        backend.close()
        same(backend.open(), identity)
        same(state(backend, 1), State.BUSY)

    def test_it_does_what_the_model_does(self, rig: Rig) -> None:
        """Any sequence of batches has the same results here and in the store of the tests."""
        from tests.replay.backend_model import compare

        compare(rig)


class BoundRules:
    """For stores that have a bound of their own for the bytes of all answers."""

    def test_above_its_bound_the_oldest_answers_go_but_not_their_keys(self, rig: Rig) -> None:
        """A key that was forgotten would be carried out once more: only what was answered is."""
        assert rig.bounded is not None
        backend = rig.bounded(100_000)
        backend.open()
        for number in range(20):
            backend.run([begin(number), keep(number, b"%d" % number + b"x" * 10_000)])
        for _ in range(3):
            backend.tidy()
        found = [only(backend, begin(number, "b")) for number in range(20)]
        gone = [held for held in found if held == Held(State.KEPT, b"")]
        same(found[: len(gone)], gone)
        assert 10 < len(gone) < 15, len(gone)
        same([held.state for held in found if isinstance(held, Held)], [State.KEPT] * 20)

    def test_below_its_bound_nothing_goes(self, rig: Rig) -> None:
        """Also where answers were forgotten meanwhile: what is counted is what is there."""
        assert rig.bounded is not None
        backend = rig.bounded(100_000)
        backend.open()
        for _ in range(5):
            for number in range(9):
                backend.run([begin(number), keep(number, b"x" * 10_000, retention=SHORT)])
            rig.pass_short()
        backend.tidy()
        backend.run([work for number in range(9) for work in (begin(number), keep(number, b"y" * 10_000))])
        backend.tidy()
        same([only(backend, begin(number)) for number in range(9)], [Held(State.KEPT, b"y" * 10_000)] * 9)


def in_threads(bodies: Sequence[Callable[[], None]]) -> None:
    """Run all at once, and raise what the first of them raised."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
