"""When votes are enough, and for whom."""

from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.state._votes import Vote, Voter, agreed, machine_name, parsed

NOW = 1_700_000_000.0
ME = Voter("here", "me")


def vote(machine: str, instance: str, ends: float = 10.0, begins: float = -5.0) -> Vote:
    return Vote(Voter(machine, instance), NOW + begins, NOW + ends)


def test_two_other_machines_are_a_quorum_of_two() -> None:
    """The voter itself is not needed."""
    assert agreed([vote("a", "1"), vote("b", "2")], ME, 2, NOW) == 10.0


def test_one_bad_machine_opens_nobody_elses() -> None:
    """However many of its instances vote, another machine counts once."""
    assert agreed([vote("a", str(number)) for number in range(50)], ME, 2, NOW) == 0.0


def test_instances_of_the_own_machine_count_each() -> None:
    """What is wrong with the machine is wrong for its other workers too."""
    assert agreed([vote("here", "1"), vote("here", "2")], ME, 2, NOW) == 10.0


def test_one_neighbour_and_one_machine_are_two() -> None:
    """Both kinds add up."""
    assert agreed([vote("here", "1"), vote("a", "1"), vote("a", "2")], ME, 2, NOW) == 10.0
    assert agreed([vote("here", "1"), vote("a", "1"), vote("a", "2")], ME, 3, NOW) == 0.0


def test_the_own_vote_counts_nothing() -> None:
    """Nobody is convinced by himself."""
    assert agreed([vote("here", "me"), vote("a", "1")], ME, 2, NOW) == 0.0


def test_it_holds_as_long_as_the_quorum_does() -> None:
    """Of three votes two are needed: the time is up with the second to last."""
    votes = [vote("a", "1", 3.0), vote("b", "1", 30.0), vote("c", "1", 12.0)]
    assert agreed(votes, ME, 2, NOW) == 12.0


def test_what_is_older_than_the_own_finding_is_ignored() -> None:
    """A probe of ours succeeded after they had voted: only what began later counts."""
    votes = [vote("a", "1", begins=-5.0), vote("b", "1", begins=-1.0)]
    assert agreed(votes, ME, 2, NOW, since=NOW - 2.0) == 0.0
    assert agreed(votes, ME, 2, NOW, since=NOW - 6.0) == 10.0


def test_a_vote_beyond_its_longest_time_counts_nothing() -> None:
    """A clock that is years ahead opens nothing for years."""
    assert agreed([vote("a", "1", 4000.0), vote("b", "1")], ME, 2, NOW) == 0.0


@given(st.integers(0, 2**40), st.floats(0.001, 3600), st.text("abcdef0123456789", min_size=1, max_size=12))
def test_what_is_written_is_read(begins: int, lasts: float, name: str) -> None:
    """Text and score hold the whole vote."""
    made = Vote(Voter(name, name), begins / 1000, begins / 1000 + lasts)
    assert parsed(str(made), made.ends) == made


@given(st.text(), st.floats())
def test_garbage_is_no_vote(text: str, ends: float) -> None:
    """Whatever stands in a key, reading it raises nothing."""
    found = parsed(text, ends)
    assert found is None or str(found).split("/")[1:] == text.split("/")[1:]


def test_the_machine_has_one_name() -> None:
    """Two processes of one kernel say the same."""
    assert machine_name() == machine_name()
    assert len(machine_name()) == 12
