"""The four services as they are, over real HTTP and without faults."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from examples.order_service.books import Ledgers
from examples.order_service.fleet import Fleet
from examples.order_service.load import CARD, DECLINED, Load, customers

WISH = {"sku": "bolt", "quantity": 2, "amount": 900, "card": CARD}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One fleet without handrail: this is about the business code."""
    with Fleet(tmp_path_factory.mktemp("fleet"), {"HANDRAIL_ENABLED": "false"}) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60, trust_env=False) as client:
        yield client


def test_an_order_is_reserved_charged_and_shipped(fleet: Fleet, client: httpx.Client) -> None:
    """201 means: stock taken, one charge, one parcel, and the order can be read back."""
    answer = client.post(f"{fleet.url('order')}/orders", json={"order_id": "good", **WISH})
    ledgers = Ledgers(fleet.folder)
    assert (answer.status_code, answer.json()) == (201, {"order_id": "good", "status": "placed"})
    assert client.get(f"{fleet.url('order')}/orders/good").json()["status"] == "placed"
    assert (ledgers.charges["good"], ledgers.parcels["good"], "good" in ledgers.held) == (1, 1, True)
    assert client.get(f"{fleet.url('inventory')}/stock/bolt").json()["quantity"] == 1_000_000 - 2


def test_a_declined_card_is_402_and_holds_no_stock(fleet: Fleet, client: httpx.Client) -> None:
    """The refusal is the service's own answer, and the reservation is given back."""
    answer = client.post(f"{fleet.url('order')}/orders", json={"order_id": "poor", **WISH, "card": DECLINED})
    ledgers = Ledgers(fleet.folder)
    assert (answer.status_code, answer.json()["error"]) == (402, "card declined")
    assert (ledgers.charges["poor"], ledgers.parcels["poor"], "poor" in ledgers.held) == (0, 0, False)


def test_out_of_stock_is_409_and_nothing_is_charged(fleet: Fleet, client: httpx.Client) -> None:
    """The refusal is the service's own answer, before payment is asked."""
    answer = client.post(f"{fleet.url('order')}/orders", json={"order_id": "none", **WISH, "sku": "unobtainium"})
    assert (answer.status_code, answer.json()["error"]) == (409, "out of stock")
    assert Ledgers(fleet.folder).charges["none"] == 0


@pytest.mark.parametrize("body", [{}, {"order_id": "x"}, [1], "text"])
def test_what_is_no_order_is_422(fleet: Fleet, client: httpx.Client, body: object) -> None:
    """A body without the fields of an order is named as such."""
    answer = client.post(f"{fleet.url('order')}/orders", json=body)
    assert (answer.status_code, "order_id" in answer.json()["error"]) == (422, True)


def test_an_order_is_taken_once(fleet: Fleet, client: httpx.Client) -> None:
    """The same order again is refused and charges nothing."""
    first, again = (
        client.post(f"{fleet.url('order')}/orders", json={"order_id": "twice", **WISH}).status_code for _ in range(2)
    )
    assert (first, again, Ledgers(fleet.folder).charges["twice"]) == (201, 409, 1)


def test_a_key_seen_before_gets_its_charge_again(fleet: Fleet, client: httpx.Client) -> None:
    """20 charges with one key at the same time: one line in the ledger, the same answer for all."""
    body = {"order_id": "keyed", "amount": 5, "card": CARD}

    def charge(_: int) -> tuple[int, str]:
        answer = client.post(f"{fleet.url('payment')}/charges", json=body, headers={"Idempotency-Key": "keyed"})
        return answer.status_code, answer.text

    with ThreadPoolExecutor(20) as threads:
        answers = set(threads.map(charge, range(20)))
    assert len(answers) == 1
    assert answers.pop()[0] == 201
    assert Ledgers(fleet.folder).charges["keyed"] == 1


def test_without_a_key_a_double_charge_stands_in_the_ledger(fleet: Fleet, client: httpx.Client) -> None:
    """Nothing hides a double charge: two calls without a key are two charges of one order."""
    body = {"order_id": "unkeyed", "amount": 5, "card": CARD}
    for _ in range(2):
        client.post(f"{fleet.url('payment')}/charges", json=body).raise_for_status()
    assert Ledgers(fleet.folder).charges["unkeyed"] == 2


def test_a_charge_after_the_refund_is_refused(fleet: Fleet, client: httpx.Client) -> None:
    """A late charge of a cancelled order takes no money; refunding twice gives back once."""
    refunds = [client.delete(f"{fleet.url('payment')}/charges/late").json() for _ in range(2)]
    answer = client.post(
        f"{fleet.url('payment')}/charges",
        json={"order_id": "late", "amount": 5, "card": CARD},
        headers={"Idempotency-Key": "late"},
    )
    assert (answer.status_code, refunds[0]) == (410, refunds[1])


def test_a_reservation_after_the_release_is_refused(fleet: Fleet, client: httpx.Client) -> None:
    """A late reservation of a cancelled order takes no stock; releasing twice gives back once."""
    address = f"{fleet.url('inventory')}/reservations/tardy"
    before = client.get(f"{fleet.url('inventory')}/stock/nut").json()["quantity"]
    client.put(address, json={"sku": "nut", "quantity": 3}).raise_for_status()
    for _ in range(2):
        client.delete(address).raise_for_status()
    assert client.put(address, json={"sku": "nut", "quantity": 3}).status_code == 410
    assert client.get(f"{fleet.url('inventory')}/stock/nut").json()["quantity"] == before


def test_the_load_places_the_orders_that_it_says(fleet: Fleet) -> None:
    """40 orders hold one article out of stock and two declined cards; all others are placed."""

    async def place() -> Load:
        async with customers() as client:
            load = Load(fleet.url("order"), client, lambda answer: None)
            await load.send(200, 40)
            return load

    load = asyncio.run(place())
    statuses = sorted(str(answer.status) for answer in load.answers)
    assert statuses == ["201"] * 37 + ["402"] * 2 + ["409"]
    assert all(answer.clear for answer in load.answers)


def test_processes_end_with_the_fleet(tmp_path: Path) -> None:
    """Leaving the block ends every process that was started, and none can be started afterwards."""
    with Fleet(tmp_path, {"HANDRAIL_ENABLED": "false"}) as fleet:
        processes = list(fleet.processes.values())
    assert [process.poll() is not None for process in processes] == [True] * 4
    with pytest.raises(RuntimeError, match="has been closed"):
        fleet.launch("order")


def test_a_service_that_does_not_start_is_named_with_its_log(tmp_path: Path) -> None:
    """A wrong environment ends the start with the reason, and leaves no process behind."""
    fleet = Fleet(tmp_path, {"PYTHONPATH": "", "DATA_DIR_": "", "HANDRAIL_ENABLED": "false"})
    fleet.environ["DATA_DIR"] = "/dev/null/nowhere"
    with pytest.raises(RuntimeError, match=r"(?s)inventory did not come up.*NotADirectoryError"), fleet:
        pass
    assert fleet.processes == {}
