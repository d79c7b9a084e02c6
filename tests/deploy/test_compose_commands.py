"""Every command of docker-compose.yml, run outside a container against a real Jaeger with its configuration."""

import json
from pathlib import Path

import httpx
import pytest
import yaml

from tests.deploy.compose_outside import ComposeOutside
from tests.deploy.jaeger_server import CONFIG, PORTS, JaegerServer

pytestmark = pytest.mark.jaeger


def test_the_whole_compose_file_runs(jaeger_binary: Path, tmp_path: Path) -> None:
    """Services start in order of health, the load generator's orders get clear answers, all are seen in Jaeger."""
    with JaegerServer(jaeger_binary, tmp_path) as jaeger, ComposeOutside(tmp_path, jaeger.otlp_http) as compose:
        load = compose.services["load"]["command"]
        load[load.index("--count") + 1] = "10"
        compose.up("load")
        assert compose.started["load"].wait(60) == 0, compose.log("load") + compose.log("order")
        assert set(compose.started) == set(compose.services) - {"jaeger", "prometheus"}
        jaeger.wait(lambda: jaeger.services() >= {"order", "inventory", "payment", "shipping"})
        for name in ("inventory", "payment", "shipping", "order"):
            faults = httpx.put(f"{compose.url(name)}/_faults", json={}, trust_env=False)
            assert faults.json()["error_every"] == 0


def test_jaeger_runs_with_this_configuration(jaeger_binary: Path, tmp_path: Path) -> None:
    """Jaeger takes every key, says that it is healthy, and serves the UI settings of ui.json."""
    with JaegerServer(jaeger_binary, tmp_path) as jaeger:
        page = httpx.get(f"{jaeger.query}/", trust_env=False).text
        settings = json.loads(CONFIG.with_name("ui.json").read_text())
        assert json.dumps(settings, separators=(",", ":")) in page
        assert jaeger.get("/api/v3/services") == {}


def test_an_unknown_key_stops_jaeger(jaeger_binary: Path, tmp_path: Path) -> None:
    """The test above can fail: Jaeger refuses a configuration with a key that it does not know."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.read_text().replace("use_v2:", "use_v3:"))
    with pytest.raises(AssertionError, match="use_v3"), JaegerServer(jaeger_binary, tmp_path, config):
        pass


def test_jaeger_listens_where_containers_reach_it() -> None:
    """Every address of the configuration is on all interfaces unless the environment moves it."""
    text = CONFIG.read_text()
    defaults = yaml.safe_load(text)
    assert set(PORTS) == {name for name in PORTS if f"${{env:{name}:-0.0.0.0:" in text}
    assert defaults["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith("0.0.0.0:4318}")
    assert text.count("endpoint:") == len(PORTS) + 1  # and where Prometheus is asked


def test_jaeger_keeps_enough_for_a_search() -> None:
    """Jaeger answers a search that asks for more traces than the store holds with an error."""
    limit = json.loads(CONFIG.with_name("ui.json").read_text())["search"]["maxLimit"]
    kept = yaml.safe_load(CONFIG.read_text())["extensions"]["jaeger_storage"]["backends"]["recent"]["memory"]
    assert int(kept["max_traces"].removeprefix("${env:JAEGER_MAX_TRACES:-").removesuffix("}")) >= limit
