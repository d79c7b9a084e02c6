"""The table of rows and what is read out of figures."""

import json

import pytest

from bench import contenders, lag, rows
from bench.instructions import Count
from bench.results import Result, as_json, names, results
from bench.timing import Rounds, Spread

SPAN = rows.Row("inbound", "span", "ours", "contrib", 0.35)


def counts(ours: float) -> dict[str, Count]:
    return {"bare": Count(100, 0), "contrib": Count(1100, 0), "ours": Count(100 + ours, 0)}


@pytest.mark.parametrize("row", rows.ROWS, ids=lambda row: f"{row.group}-{row.name}")
def test_the_contenders_of_every_row_exist_and_do_the_same_work(row):
    """A row compares two contenders that are told apart from the same base, or from none."""
    if row.group == "lag":
        assert {row.ours, row.peer} <= lag.TITLES.keys()
        return
    ours, peer = contenders.find(row.ours), contenders.find(row.peer)
    assert peer.base in (ours.base, None)
    assert ours.base is None or contenders.find(ours.base).base is None


def test_no_two_rows_have_one_name():
    """`--row` names one row."""
    assert len({row.name for row in rows.ROWS}) == len(rows.ROWS)


def test_a_ratio_is_added_cost_over_added_cost():
    """What the bare application costs is no part of it."""
    [found] = results([SPAN], counts(350), None)
    assert found.ratio == pytest.approx(0.35)
    assert found.met is True
    assert results([SPAN], counts(351), None)[0].met is False


def test_time_is_compared_within_each_round():
    """A round in which the machine was slow for everybody changes no ratio."""
    rounds = Rounds({"bare": [1, 10], "contrib": [3, 30], "ours": [2, 20]})
    assert rounds.ratio("ours", "contrib") == Spread(0.5, 0.5, 0.5)


def test_instructions_decide_where_they_were_counted_and_time_where_not():
    """The verdict is held against the figure that repeats."""
    assert Result(SPAN, 0.3, Spread(0.4, 0.4, 0.4)).met is True
    assert Result(SPAN, None, Spread(0.4, 0.4, 0.4)).met is False
    assert Result(SPAN, None, None).met is None


def test_every_contender_is_measured_once_behind_its_base():
    """The base of several rows is counted once."""
    assert names([SPAN, rows.Row("inbound", "x", "starlette", "contrib")]) == ["bare", "contrib", "ours", "starlette"]


def test_what_is_not_known_is_refused_with_what_is():
    """A word that names no group or row is an error, not an empty table."""
    with pytest.raises(ValueError, match="no nothing here"):
        rows.chosen(["nothing"], [])
    with pytest.raises(ValueError, match="no nothing here"):
        rows.chosen([], ["nothing"])
    assert {row.group for row in rows.chosen(["inbound"], [])} == {"inbound"}


def test_json_holds_what_the_tables_show():
    """Ratio, target and verdict of each row, and the cost of each contender, also without instructions."""
    rounds = Rounds({"bare": [1.0], "contrib": [3.0], "ours": [2.0]})
    told = json.loads(json.dumps(as_json(results([SPAN], None, rounds), None, rounds)))
    [row] = told["rows"]
    assert (row["instructions"], row["time"]["middle"], row["target"], row["met"]) == (None, 0.5, 0.35, False)
    assert told["contenders"]["ours"]["microseconds_added"]["middle"] == 1.0
