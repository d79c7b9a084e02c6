"""Route templates of frameworks that leave none in the scope: Quart tells by a signal, Django is asked again."""

import sys
from functools import lru_cache
from typing import Any

ROUTE = "handrail.route"

_quart_connected = False


def connect_quart() -> None:
    """Have Quart, where it is imported, write the rule of each request into its scope. Once per process."""
    global _quart_connected
    if _quart_connected or "quart" not in sys.modules:
        return
    _quart_connected = True
    from quart import request, signals, websocket

    # Coroutines: Quart runs a plain function in a thread.
    async def told(_sender: object, **_: object) -> None:
        _remember(request)

    async def told_websocket(_sender: object, **_: object) -> None:
        _remember(websocket)

    signals.request_started.connect(told, weak=False)
    signals.websocket_started.connect(told_websocket, weak=False)


def _remember(request: Any) -> None:
    rule = request.url_rule
    if rule is not None:
        request.scope[ROUTE] = rule.rule


def django_app(app: object) -> bool:
    """Whether this is Django's ASGI handler, or one with middleware around it."""
    for _ in range(16):
        if app is None:
            return False
        if any(cls.__module__ == "django.core.handlers.asgi" for cls in type(app).__mro__):
            return True
        inner = getattr(app, "application_mapping", None)  # Channels
        app = inner.get("http") if isinstance(inner, dict) else getattr(app, "application", getattr(app, "app", None))
    return False


def django_template(scope: Any) -> str | None:
    """Django's route for the path, by its own resolver; a URL conf that is set per request is not seen."""
    path: str = scope["path"]
    return _resolved(path.removeprefix(scope.get("root_path", "") or ""))


@lru_cache(maxsize=1024)
def _resolved(path: str) -> str | None:
    urls = sys.modules.get("django.urls")
    if urls is None:
        return None
    try:
        return "/" + str(urls.resolve(path).route)
    except urls.Resolver404:
        return None
