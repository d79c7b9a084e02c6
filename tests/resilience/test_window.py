"""The sliding window against a list of everything that happened."""

from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.window import Window

# Quarters of a second are exact in binary, so the model and the ring agree to the call.
steps = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["good", "bad", "fresh"])), max_size=200)


@given(start=st.integers(0, 4000), steps=steps, rest=st.integers(0, 60))
def test_the_ring_remembers_what_a_list_would(start: int, steps: list[tuple[int, str]], rest: int) -> None:
    """A call counts as long as fewer than ten buckets began since; every way to count is the same."""
    window, quarters, seen = Window(10.0), start, list[tuple[int, bool]]()
    for pause, kind in steps:
        quarters += pause
        now = quarters / 4
        if kind == "bad":
            window.add_bad(now)
        elif kind == "fresh" and now < window.ends:
            window.fresh += 1
        else:
            window.add_good(now)
        seen.append((quarters // 4, kind == "bad"))
    quarters += rest
    alive = [bad for second, bad in seen if quarters // 4 - second < 10]
    assert window.counts(quarters / 4) == (sum(alive), len(alive))


@given(st.floats(0.1, 86_400), st.lists(st.floats(0, 1e5), max_size=50))
def test_nothing_older_than_the_window_counts(seconds: float, pauses: list[float]) -> None:
    """After one full window of silence all is forgotten, whatever the floats."""
    window, now = Window(seconds), 1e6
    for pause in pauses:
        now += pause
        window.add_bad(now)
        assert window.counts(now)[0] >= 1
        assert window.ends > now
    assert window.counts(now + seconds * 1.001) == (0, 0)


@given(start=st.integers(0, 4000), steps=steps, slow=st.lists(st.booleans(), min_size=200, max_size=200))
def test_slow_calls_and_rows_of_failures_are_those_of_a_list(
    start: int, steps: list[tuple[int, str]], slow: list[bool]
) -> None:
    """Slow calls leave with the window, failed or not; a row of failures lasts until a success, however long."""
    window, quarters, seen = Window(10.0), start, list[tuple[int, bool]]()
    row = 0
    for (pause, kind), drawn in zip(steps, slow, strict=False):
        quarters += pause
        now = quarters / 4
        fresh = kind == "fresh" and now < window.ends
        was_slow = drawn and not fresh
        if kind == "bad":
            window.add_bad(now, was_slow)
            row += 1
        elif fresh:
            window.fresh += 1
            row = 0
        else:
            window.add_good(now, was_slow)
            row = 0
        assert window.streak == row
        seen.append((quarters // 4, was_slow))
        assert window.slow(now) == sum(one for second, one in seen if quarters // 4 - second < 10)


def test_time_that_goes_back_counts_as_now() -> None:
    """A thread that read the clock earlier than another loses nothing."""
    window = Window(10.0)
    window.add_bad(100.0)
    window.add_bad(95.0)
    window.add_good(50.0)
    assert window.counts(100.0) == (2, 3)
