"""An ASGI application without a framework, and without the lifespan protocol."""

import json
from typing import Any

from work import answer


async def plain(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", scope["type"]
    body = json.dumps(await answer()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
