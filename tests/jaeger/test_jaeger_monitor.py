"""The Monitor tab: span metrics of the real Jaeger, through a real Prometheus, as Jaeger's own API answers."""

import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from examples.order_service.fleet import Fleet
from examples.order_service.load import CARD
from examples.order_service.ports import free_ports
from tests.deploy.jaeger_server import CONFIG, JaegerServer

pytestmark = [pytest.mark.jaeger, pytest.mark.xdist_group("monitor")]


@pytest.fixture(scope="module")
def monitored(
    jaeger_binary: Path, prometheus_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JaegerServer]:
    """Jaeger and Prometheus with the shipped configurations, made faster, after orders of which some failed."""
    folder = tmp_path_factory.mktemp("monitor")
    (port,) = free_ports(1)
    faster = {"JAEGER_PROMETHEUS": f"http://127.0.0.1:{port}", "JAEGER_FLUSH": "500ms"}
    with JaegerServer(jaeger_binary, folder, environ=faster) as jaeger:
        shipped = (CONFIG.parents[1] / "prometheus" / "prometheus.yml").read_text()
        config = yaml.safe_load(shipped.replace("jaeger:8889", jaeger.addresses["JAEGER_SPAN_METRICS"]))
        config["global"]["scrape_interval"] = "500ms"
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [
            str(prometheus_binary),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "prometheus.log").open("wb") as log:
            prometheus = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            place(jaeger, folder)
            yield jaeger
        finally:
            prometheus.terminate()
            prometheus.wait(60)


def place(jaeger: JaegerServer, folder: Path) -> None:
    """Orders until their rate is known (it needs two scrapes with orders in between), then until that of errors is."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.otlp_http, "HANDRAIL_BACKOFF_BASE": "0.01"}
    numbers = itertools.count()
    with Fleet(folder, environ) as fleet:

        def known(what: str) -> bool:
            order = {"order_id": f"m{next(numbers)}", "sku": "bolt", "quantity": 1, "amount": 5, "card": CARD}
            url = f"http://127.0.0.1:{fleet.ports['order']}/orders"
            httpx.post(url, json=order, timeout=90, trust_env=False)
            return points(jaeger, what) >= 2

        jaeger.wait(lambda: known("calls"))
        fleet.fault("payment", error_every=1, paths=["/charges"])
        jaeger.wait(lambda: known("errors"))


def measured(jaeger: JaegerServer, what: str, **more: str) -> list[dict[str, Any]]:
    """What the Monitor tab asks for: one series of `/api/metrics` for each operation of the order service."""
    asked = {
        "service": "order",
        "endTs": str(int(time.time() * 1000)),
        "lookback": "600000",
        "step": "1000",
        "ratePer": "600000",  # the whole of what happened
        "groupByOperation": "true",
        **more,
    }
    return list((jaeger.get(f"/api/metrics/{what}", **asked) or {}).get("metrics", []))


def points(jaeger: JaegerServer, what: str, **more: str) -> int:
    """The points of `POST /orders` that are numbers above zero."""
    found = 0
    for series in measured(jaeger, what, **more):
        if {"name": "operation", "value": "POST /orders"} in series["labels"]:
            values = [point["gaugeValue"]["doubleValue"] for point in series["metricPoints"] if "gaugeValue" in point]
            found += sum(1 for value in values if isinstance(value, int | float) and value > 0)
    return found


@pytest.mark.parametrize(
    ("what", "more"), [("calls", {}), ("errors", {}), ("latencies", {"quantile": "0.95"})], ids=str
)
def test_the_monitor_tab_has_its_figures(monitored: JaegerServer, what: str, more: dict[str, str]) -> None:
    """Rate, errors and 95th percentile of an operation can be asked for, by its route, with values above zero."""
    monitored.wait(lambda: points(monitored, what, **more) >= 1)
    operations = [label["value"] for series in measured(monitored, what, **more) for label in series["labels"]]
    assert "POST /orders" in operations
    assert not [name for name in operations if "m1" in name]
