"""What the log line of problem details says of the path."""

import asyncio
import logging
import uuid

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from handrail import protect
from handrail.resilience.errors import CircuitOpen
from handrail.tracing.testing import Spans


async def fails(_request: Request) -> Response:
    raise CircuitOpen("circuit open", target="http://stock", retry_after=1.5)


@pytest.mark.parametrize(
    ("route", "path", "shown"),
    [
        ("/reset/{token}", "/reset/sesame", "/reset/REDACTED"),
        ("/reset/{token:uuid}", f"/reset/{uuid.UUID(int=7).hex.upper()}", "/reset/REDACTED"),
        ("/pin/{pin:int}/{id}", "/pin/0042/42", "/pin/REDACTED/42"),
        ("/f/{secret:path}", "/f/a/b", "/f/{secret}"),
    ],
)
def test_the_log_line_hides_secret_parameters(
    route: str, path: str, shown: str, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a converter makes of the value: what stands in the path is hidden, by the route as on the span."""
    app = protect(Starlette(routes=[Route(route, fails)]))

    async def main() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            return (await client.get(path)).status_code

    with caplog.at_level(logging.WARNING, "handrail"):
        assert asyncio.run(main()) == 503
    (line,) = [record.getMessage() for record in caplog.records if "answered 503" in record.getMessage()]
    assert line.startswith(f"GET {shown} answered 503")
