"""Unhandled errors in a Django application; run by test_problem_frameworks.py."""

import asyncio
import logging
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import django
import httpx
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, JsonResponse
from django.test import override_settings
from django.urls import path

from handrail.resilience import errors
from handrail.resilience.inbound.problem import ProblemDetails

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def refused(_request: Any) -> Any:
    """A dependency that failed."""
    raise errors.CircuitOpen("circuit open", target="http://inventory", retry_after=1.5)


def bug(_request: Any) -> Any:
    """On a thread."""
    raise ValueError("a bug")


async def own(_request: Any) -> Any:
    """An answer of the app's."""
    return HttpResponse(b"mine", status=500)


def handler(_request: Any) -> Any:
    """The app's own page."""
    return HttpResponse(b"handled", status=500)


class Mine:
    """A layer of the app's that makes JSON of every 500."""

    async_capable, sync_capable = False, True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        return JsonResponse({"mine": True}, status=500) if response.status_code == 500 else response


async def get(where: str) -> httpx.Response:
    """One request; the layers of the application are made for it."""
    transport = httpx.ASGITransport(ProblemDetails(ASGIHandler(), trace_id=lambda: TRACE))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(where)


async def main(folder: Path) -> None:
    """Bare, then with each kind of page that is not."""
    response = await get("/refused")
    assert (response.status_code, response.json()["policy"]) == (503, "circuit_breaker"), response.text
    response = await get("/bug")
    assert (response.status_code, response.json()["trace_id"]) == (500, TRACE), response.text
    assert "a bug" not in response.text
    assert (await get("/own")).text == "mine"
    with override_settings(DEBUG=True):
        assert "ValueError" in (await get("/bug")).text
    with override_settings(MIDDLEWARE=[f"{__name__}.Mine"]):
        assert (await get("/bug")).json() == {"mine": True}
    (folder / "500.html").write_text("a page of the app's own")
    assert (await get("/bug")).text == "a page of the app's own"
    (folder / "500.html").unlink()
    urls.handler500 = handler  # type: ignore[attr-defined]
    from django.urls import clear_url_caches

    clear_url_caches()
    assert (await get("/bug")).text == "handled"
    print("well")


if __name__ == "__main__":
    urls = types.ModuleType("shop_urls")
    urls.urlpatterns = [path("refused", refused), path("bug", bug), path("own", own)]  # type: ignore[attr-defined]
    sys.modules["shop_urls"] = urls
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as made:
        settings.configure(
            ROOT_URLCONF="shop_urls",
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="x",
            MIDDLEWARE=[],
            USE_TZ=True,
            TEMPLATES=[
                {
                    "BACKEND": "django.template.backends.django.DjangoTemplates",
                    "DIRS": [made],
                    "OPTIONS": {"loaders": ["django.template.loaders.filesystem.Loader"]},
                }
            ],
        )
        django.setup()
        asyncio.run(main(Path(made)))
