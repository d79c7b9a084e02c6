"""The story is played once for each protocol, whatever the number of tests and of processes that run them."""

import pytest

from tests.deploy.jaeger_server import JaegerServer
from tests.jaeger.shapes import Shapes, play
from tests.jaeger.story import Story

PROTOCOLS = [
    pytest.param("http/protobuf", marks=pytest.mark.xdist_group("story-http"), id="http"),
    pytest.param("grpc", marks=pytest.mark.xdist_group("story-grpc"), id="grpc"),
]


@pytest.fixture(scope="session", params=PROTOCOLS)
def story(request: pytest.FixtureRequest, jaeger: JaegerServer, tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(jaeger, tmp_path_factory.mktemp("story"), request.param)


@pytest.fixture(scope="session")
def shapes(jaeger: JaegerServer, tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    return play(jaeger, tmp_path_factory.mktemp("shapes"))
