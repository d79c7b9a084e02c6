"""docs/jaeger.md, "What to search for": each line finds what it says, in the real Jaeger."""

import json
import re
import time
from pathlib import Path

import pytest

from tests.deploy.jaeger_server import JaegerServer
from tests.jaeger.shapes import Shapes
from tests.jaeger.story import Story

pytestmark = [pytest.mark.jaeger, pytest.mark.xdist_group("story-http")]

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "jaeger.md").read_text("utf-8")
SEARCHES = re.findall(r"^\| (.+\?) \| `(.+)` \|$", GUIDE, re.MULTILINE)


def search(jaeger: JaegerServer, service: str, tags: str) -> list[str]:
    """The trace ids that the search form finds: the address that it calls, and the box for tags as it sends them."""
    asked = dict(word.split("=", 1) for word in tags.split())
    now = int(time.time() * 1_000_000)
    window = {"start": str(now - 3_600_000_000), "end": str(now + 60_000_000), "limit": "100"}
    found = jaeger.get("/api/traces", service=service, tags=json.dumps(asked), **window)
    return [trace["traceID"] for trace in (found or {}).get("data") or []]


def knows_error(shapes: Shapes) -> bool:
    """Whether a span that failed, and is there, is found by `error=true`."""
    shapes.jaeger.wait(lambda: search(shapes.jaeger, "front", "http.response.status_code=504"))
    return bool(search(shapes.jaeger, "front", "error=true"))


@pytest.mark.parametrize("story", ["http/protobuf"], indirect=True, ids=["http"])
@pytest.mark.parametrize(("question", "tags"), SEARCHES, ids=[tags for _, tags in SEARCHES])
def test_each_search_of_the_guide_finds_something(story: Story, shapes: Shapes, question: str, tags: str) -> None:
    """The tags of each line are found on a span of the stories that were played."""
    services = ("order", "front", "payment", "pay")
    if tags == "error=true" and not knows_error(shapes):
        pytest.skip("this Jaeger is older than 2.20, the one of docker-compose.yml: `error` is no tag to it")
    shapes.jaeger.wait(lambda: any(search(shapes.jaeger, service, tags) for service in services))


def test_a_search_can_find_nothing(shapes: Shapes) -> None:
    """The test above can fail: tags that nobody has are not found."""
    shapes.jaeger.wait(lambda: search(shapes.jaeger, "front", "http.response.status_code=504"))
    assert search(shapes.jaeger, "front", "error.type=NobodyRaisesThis") == []
    assert len(SEARCHES) >= 12
