"""Requests with a key in a Django application; run by test_idempotency_frameworks.py."""

import asyncio
import sys
import types
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import JsonResponse
from django.urls import path

from tests.resilience_inbound.idempotency_bench import Service

effects = 0
begun = going = asyncio.Event()


async def pay(request: Any) -> Any:
    """Waits, acts, answers."""
    global effects
    begun.set()
    await going.wait()
    effects += 1
    return JsonResponse({"charge": effects}, status=201)


async def main() -> None:
    """Twice; then with a client that leaves in the middle."""
    global begun, going
    begun, going = asyncio.Event(), asyncio.Event()
    service = Service(ASGIHandler())
    gone = asyncio.Event()
    leaving = asyncio.create_task(service.post("left", left=gone))
    await begun.wait()
    gone.set()
    await asyncio.to_thread(int)
    going.set()
    await leaving
    assert (await service.post("left")).replayed
    first, second = await service.post("two"), await service.post("two")
    assert (first.status, first.body, second.body) == (201, b'{"charge": 2}', b'{"charge": 2}')
    assert second.replayed
    assert effects == 2
    print("well")


if __name__ == "__main__":
    urls = types.ModuleType("till_urls")
    urls.urlpatterns = [path("pay", pay)]  # type: ignore[attr-defined]
    sys.modules["till_urls"] = urls
    settings.configure(ROOT_URLCONF="till_urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x", MIDDLEWARE=[], USE_TZ=True)
    django.setup()
    asyncio.run(main())
