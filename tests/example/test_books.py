"""The books name every way in which an order can be lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from examples.order_service.books import audit
from examples.order_service.load import Answer

Rows = dict[str, list[tuple[object, ...]]]

TABLES = {
    "order": "orders (order_id, status)",
    "payment": "ledger (order_id, kind, amount)",
    "shipping": "shipments (order_id)",
    "inventory": "reservations (order_id, released)",
}
PLACED: Rows = {
    "order": [("a", "placed")],
    "payment": [("a", "charge", 5)],
    "shipping": [("a",)],
    "inventory": [("a", 0)],
}
REFUSED: Rows = {
    "order": [("a", "failed")],
    "payment": [("a", "charge", 5), ("a", "refund", 5)],
    "inventory": [("a", 1)],
}


def write(folder: Path, rows: Rows) -> None:
    for name, table in TABLES.items():
        with closing(sqlite3.connect(folder / f"{name}.db")) as db, db:
            db.execute(f"CREATE TABLE {table}")
            for row in rows.get(name, []):
                db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def answer(status: int | None, *, clear: bool = True) -> Answer:
    return Answer("a", status, clear, 0.25)


def test_a_placed_order_with_all_its_entries_is_placed(tmp_path: Path) -> None:
    """201, one charge, one parcel, stock taken."""
    write(tmp_path, PLACED)
    books = audit([answer(201)], tmp_path)
    assert (books.orders, books.placed, books.refused, books.lost, books.sound) == (1, 1, 0, {}, True)


@pytest.mark.parametrize("status", [402, 409, 503, 504])
def test_a_refused_order_that_was_undone_is_refused(tmp_path: Path, status: int) -> None:
    """A clear answer, money back, stock back."""
    write(tmp_path, REFUSED)
    books = audit([answer(status)], tmp_path)
    assert (books.placed, books.refused, books.lost) == (0, 1, {})


@pytest.mark.parametrize(
    ("told", "rows", "why"),
    [
        (answer(None, clear=False), REFUSED, "no answer"),
        (answer(500, clear=False), REFUSED, "a bare 500"),
        (answer(201), {**PLACED, "order": [("a", "pending")]}, "placed, but not in the books"),
        (answer(201), {**PLACED, "payment": []}, "placed, but not charged"),
        (answer(201), {**PLACED, "payment": REFUSED["payment"]}, "placed, but not charged"),
        (answer(201), {**PLACED, "shipping": []}, "placed, but 0 parcels"),
        (answer(201), {**PLACED, "shipping": [("a",), ("a",)]}, "placed, but 2 parcels"),
        (answer(201), {**PLACED, "inventory": [("a", 1)]}, "placed, but no stock taken"),
        (answer(503), {**REFUSED, "order": [("a", "placed")]}, "refused, but placed in the books"),
        (answer(503), {**REFUSED, "payment": PLACED["payment"]}, "refused, but charged and not refunded"),
        (answer(503), {**REFUSED, "shipping": [("a",)]}, "refused, but a parcel was sent"),
        (answer(503), {**REFUSED, "inventory": [("a", 0)]}, "refused, but stock is still held"),
    ],
)
def test_a_contradiction_is_a_lost_order(tmp_path: Path, told: Answer, rows: Rows, why: str) -> None:
    """No clear answer, or books that say otherwise than the answer: lost, and the reason is named."""
    write(tmp_path, rows)
    books = audit([told], tmp_path)
    assert (books.lost, books.placed, books.refused, books.sound) == ({"a": why}, 0, 0, False)


def test_two_charges_of_one_order_are_a_double_charge(tmp_path: Path) -> None:
    """Also where all else is in order."""
    write(tmp_path, {**PLACED, "payment": [("a", "charge", 5), ("a", "charge", 5)]})
    books = audit([answer(201)], tmp_path)
    assert (books.charged_twice, books.sound) == (["a"], False)


def test_percentiles_are_of_answered_orders(tmp_path: Path) -> None:
    """Nearest rank over what was answered; an order without an answer has no time."""
    write(tmp_path, {})
    answers = [Answer(str(number), 503, True, float(number)) for number in range(1, 101)]
    books = audit([*answers, Answer("none", None, False, 999.0)], tmp_path)
    assert (books.p50, books.p99) == (50.0, 99.0)
