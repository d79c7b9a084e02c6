"""A request of a Django application whose caller's time is spent; run by test_deadline_frameworks.py."""

import asyncio
import logging
import sys
import threading
import types
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse
from django.urls import path

from tests.resilience_inbound.deadline_service import Asked, ask

noted: list[str] = []
going = threading.Event()


async def slow(_request: Any) -> Any:
    """Waits for ever."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        noted.append("cancelled")
        raise
    finally:
        await asyncio.to_thread(int)
        noted.append("cleaned")


def sync(_request: Any) -> Any:
    """On a thread, until it may go on."""
    going.wait()
    noted.append("done")
    return HttpResponse(b"well")


async def main() -> None:
    """A view on the loop is cancelled, one on a thread goes on; both clients have their answer."""
    asked = await ask(ASGIHandler(), "/slow")
    assert (asked.statuses, asked.left, noted) == ([504], [], ["cancelled", "cleaned"]), (asked, noted)
    asked = Asked()
    asking = asyncio.create_task(ask(ASGIHandler(), "/sync", asked))
    await asked.answered.wait()  # Django itself waits for its thread
    assert (asked.statuses, noted[2:], asking.done()) == ([504], [], False), (asked, noted)
    going.set()
    await asking
    assert (asked.statuses, asked.left, noted[2:]) == ([504], [], ["done"]), (asked, noted)
    print("well")


if __name__ == "__main__":
    urls = types.ModuleType("shop_urls")
    urls.urlpatterns = [path("slow", slow), path("sync", sync)]  # type: ignore[attr-defined]
    sys.modules["shop_urls"] = urls
    logging.disable(logging.WARNING)
    settings.configure(ROOT_URLCONF="shop_urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x", MIDDLEWARE=[], USE_TZ=True)
    django.setup()
    asyncio.run(main())
