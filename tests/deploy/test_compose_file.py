"""docker-compose.yml, Dockerfile and .dockerignore, without Docker."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_text())  # compose-go v2.16.2, Apache-2.0
SERVICES = ("inventory", "payment", "shipping", "order")


def copied() -> list[str]:
    """What the Dockerfile takes from the build context."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_compose_file_is_valid() -> None:
    """The file satisfies the Compose specification's own schema."""
    Draft202012Validator.check_schema(SCHEMA)
    errors = [f"{list(error.path)}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(COMPOSE)]
    assert errors == []


def test_the_schema_refuses_what_is_wrong() -> None:
    """The validation above can fail: an unknown key and a wrong type are both found."""
    broken = {"services": {"a": {"imaeg": "x", "ports": "8000"}}}
    assert len(list(Draft202012Validator(SCHEMA).iter_errors(broken))) >= 2


def test_images_are_pinned() -> None:
    """A full version: `latest` would one day lose the API that the tests read."""
    assert COMPOSE["services"]["prometheus"]["image"] == "prom/prometheus:v3.5.0"
    assert COMPOSE["services"]["jaeger"]["image"] == "jaegertracing/jaeger:2.20.0"


def test_everything_starts_by_health() -> None:
    """Nothing starts before what it calls is healthy, and whatever is waited for has a health check."""
    waits = {name: set(service.get("depends_on", {})) for name, service in COMPOSE["services"].items()}
    assert waits["order"] == {"inventory", "payment", "shipping"}
    assert waits["load"] == {"order"}
    assert all(waits[name] == {"jaeger"} for name in SERVICES if name != "order")
    for service in COMPOSE["services"].values():
        for name, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "test" in COMPOSE["services"][name]["healthcheck"]


def test_ports_are_published_on_loopback_only() -> None:
    """Nothing of the example can be reached from other machines."""
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 8
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_names_itself_and_sends_to_jaeger(name: str) -> None:
    """The environment says who it is and where spans go; its database outlives the container."""
    service = COMPOSE["services"][name]
    assert service["environment"]["OTEL_SERVICE_NAME"] == name
    assert service["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger:4318"
    assert service["volumes"] == [f"{name}:{service['environment']['DATA_DIR']}"]
    assert name in COMPOSE["volumes"]


@pytest.mark.parametrize("sampling", ["keep-all", "tail-sampling"])
def test_what_is_mounted_is_there(sampling: str) -> None:
    """Docker makes an empty folder of a missing source, and Jaeger then finds no configuration."""
    source, target, mode = COMPOSE["services"]["jaeger"]["volumes"][0].split(":")
    command = COMPOSE["services"]["jaeger"]["command"]
    assert (command[0], command[2], mode) == ("--config", "--config", "ro")
    for config in (command[1], command[3].replace("${JAEGER_SAMPLING:-keep-all}", sampling)):
        assert config.startswith(f"{target}/")
        assert (ROOT / source / config.removeprefix(f"{target}/")).is_file()


def test_prometheus_comes_with_its_profile_and_scrapes_jaeger() -> None:
    """`docker compose up` starts no Prometheus; with the profile it finds its file, which names Jaeger's port."""
    service = COMPOSE["services"]["prometheus"]
    assert service["profiles"] == ["monitor"]
    source = service["volumes"][0].split(":")[0]
    config = yaml.safe_load((ROOT / source / "prometheus.yml").read_text())
    jaeger = (ROOT / "deploy" / "jaeger" / "config.yaml").read_text()
    assert config["scrape_configs"][0]["static_configs"] == [{"targets": ["jaeger:8889"]}]
    assert "${env:JAEGER_SPAN_METRICS:-0.0.0.0:8889}" in jaeger
    assert "${env:JAEGER_PROMETHEUS:-http://prometheus:9090}" in jaeger


def test_the_image_copies_what_exists_and_is_not_ignored() -> None:
    """Each source of a COPY is in the tree and let in by .dockerignore, which shuts out all else."""
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    sources = copied()
    assert "*" in rules
    assert len(sources) == 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in rules, source
    links = {"src/handrail/resilience", "src/handrail/tracing"}
    assert links <= set(rules), "the links of an editable install would hide the real folders"


def test_the_image_runs_without_root() -> None:
    """The last user is not root, and the services get no privileges on top."""
    users = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["app"]
    for name in (*SERVICES, "load"):
        service = COMPOSE["services"][name]
        assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
        assert "user" not in service


def test_the_base_image_is_named_once() -> None:
    """Both stages stand on the same Python, the oldest that is supported."""
    assert set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)) == {"python:3.11-slim"}
