"""What the service does for a request: it asks another service, once, as far as this code goes."""

import os
from typing import Any

import handrail_settings
import httpx
import resilience
import tracing


async def answer() -> dict[str, Any]:
    async with httpx.AsyncClient() as client:
        reply = await client.get(os.environ["UPSTREAM"])
    return {
        "owners": [tracing.OWNER, resilience.OWNER, handrail_settings.OWNER],
        "attempts": resilience.attempts(),
        "upstream": reply.status_code,
        "pid": os.getpid(),
    }
