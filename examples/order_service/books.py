"""The truth about a run: what the customers were told against what stands in the four databases."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from .load import Answer

__all__ = ["Books", "audit"]


@dataclass(frozen=True, slots=True)
class Books:
    """Every order is placed, refused or lost. `lost` names the order and what is wrong.

    `declined` counts those of the refused that no fault is to blame for: bad card, no stock. `placeable` are the
    orders that would all be placed if nothing ever failed, as the customers wrote them.
    """

    orders: int
    placed: int
    refused: int
    declined: int
    lost: dict[str, str]
    charged_twice: list[str]
    placeable: int
    p50: float
    p99: float
    """Seconds until the answer, of all orders that got one."""

    @property
    def sound(self) -> bool:
        """Whether nobody lost an order and nobody paid twice."""
        return not self.lost and not self.charged_twice

    @property
    def share(self) -> float:
        """Placed of placeable; 1 of nothing."""
        return self.placed / self.placeable if self.placeable else 1.0


class Ledgers:
    """What the services wrote down, by order."""

    def __init__(self, folder: Path) -> None:
        orders = _rows(folder, "order", "SELECT order_id, status FROM orders")
        self.status = {order_id: status for order_id, status in orders}  # noqa: C416  (the types need the names)
        kinds = _rows(folder, "payment", "SELECT order_id, kind FROM ledger WHERE amount > 0")
        self.charges = Counter(order_id for order_id, kind in kinds if kind == "charge")
        self.refunds = Counter(order_id for order_id, kind in kinds if kind == "refund")
        self.parcels = Counter(row[0] for row in _rows(folder, "shipping", "SELECT order_id FROM shipments"))
        held = _rows(folder, "inventory", "SELECT order_id FROM reservations WHERE NOT released")
        self.held = {row[0] for row in held}

    def contradiction(self, answer: Answer) -> str | None:
        """What is wrong with an order, given what its customer was told; None: all is well."""
        order_id = answer.order_id
        paid = self.charges[order_id] > 0 and self.refunds[order_id] == 0
        parcels, held = self.parcels[order_id], order_id in self.held
        if not answer.clear:
            return "no answer" if answer.status is None else f"a bare {answer.status}"
        if answer.placed:
            wrong = {
                "placed, but not in the books": self.status.get(order_id) != "placed",
                "placed, but not charged": not paid,
                f"placed, but {parcels} parcels": parcels != 1,
                "placed, but no stock taken": not held,
            }
        else:
            wrong = {
                "refused, but placed in the books": self.status.get(order_id) == "placed",
                "refused, but charged and not refunded": paid,
                "refused, but a parcel was sent": parcels > 0,
                "refused, but stock is still held": held,
            }
        return next((text for text, holds in wrong.items() if holds), None)


def audit(answers: Sequence[Answer], folder: Path) -> Books:
    """Hold the answers against the databases in `folder`."""
    ledgers = Ledgers(folder)
    lost = {answer.order_id: text for answer in answers if (text := ledgers.contradiction(answer))}
    good = [answer for answer in answers if answer.order_id not in lost]
    times = sorted(answer.seconds for answer in answers if answer.status is not None)
    return Books(
        orders=len(answers),
        placed=sum(answer.placed for answer in good),
        refused=sum(not answer.placed for answer in good),
        declined=sum(answer.status in (402, 409) for answer in good),
        lost=lost,
        charged_twice=[answer.order_id for answer in answers if ledgers.charges[answer.order_id] > 1],
        placeable=sum(answer.placeable for answer in answers),
        p50=_quantile(times, 0.50),
        p99=_quantile(times, 0.99),
    )


def _rows(folder: Path, name: str, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(f"file:{folder / name}.db?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0
