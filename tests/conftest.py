"""What every test gets: an environment without settings of its own, and the real Jaeger where it is asked for."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from scripts import install_jaeger

if TYPE_CHECKING:
    from tests.deploy.jaeger_server import JaegerServer

KEPT = frozenset({"HANDRAIL_JAEGER"})


def pytest_configure() -> None:
    """Drop settings of whoever runs the tests, before any test module is imported."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "HANDRAIL_")) and name not in KEPT:
            del os.environ[name]
    # How long an example takes says something of the machine alone.
    settings.register_profile("handrail", settings.default, deadline=None)
    settings.load_profile("handrail")
    os.environ["HANDRAIL_TRACES_DIR"] = tempfile.mkdtemp(prefix="handrail-tests-")


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ.pop("HANDRAIL_TRACES_DIR", ""), ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `xdist_group` hold: pytest-xdist 3.8 writes the group where pytest 9.2 does not read it any more, and each
    worker would start the servers of every group.
    """
    for item in items:
        with_group = getattr(item, "_nodeid", item.nodeid)
        if with_group != item.nodeid:
            item._id = type(item._id).parse(with_group)


@pytest.fixture(scope="session")
def jaeger_binary() -> Path:
    """The real Jaeger. Without one the test is skipped, and fails where REQUIRE_JAEGER=1 (`.ci/run`)."""
    found = install_jaeger.existing()
    if found is None:
        text = "no Jaeger found: `make jaeger` builds one, HANDRAIL_JAEGER names one"
        if os.environ.get("REQUIRE_JAEGER") == "1":
            pytest.fail(text)
        pytest.skip(text)
    return found


@pytest.fixture(scope="session")
def jaeger(jaeger_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[JaegerServer]":
    """One running Jaeger for all tests of this process, which tell their spans apart by service and trace id."""
    from tests.deploy.jaeger_server import JaegerServer

    with JaegerServer(jaeger_binary, tmp_path_factory.mktemp("jaeger")) as running:
        yield running


@pytest.fixture(scope="session")
def prometheus_binary() -> Path:
    """A real Prometheus (Debian: `apt install prometheus`). Without one the test is skipped, and fails where
    REQUIRE_PROMETHEUS=1 (`.ci/run`).
    """
    found = shutil.which("prometheus")
    if found is None:
        text = "no prometheus found on PATH: `apt install prometheus` installs one"
        if os.environ.get("REQUIRE_PROMETHEUS") == "1":
            pytest.fail(text)
        pytest.skip(text)
    return Path(found)
