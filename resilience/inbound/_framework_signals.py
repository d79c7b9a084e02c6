"""Quart and Django answer an unhandled error when it is no longer being handled: their signals tell of it before.

What they tell is noted in the request's scope, where the 500 to come will be the framework's bare one: no debug page,
no handler or page of the app's own. Nothing is imported: a framework that is not there when the layers are made tells
nothing.
"""

import sys
from typing import Any

__all__ = ["TOLD", "listen"]

TOLD = "handrail.unhandled"
"""The entry of the scope."""
_UID = "handrail"


def listen() -> None:
    """Hear of unhandled errors of each framework that is imported; a second time is the same as once."""
    signals: Any = sys.modules.get("quart.signals")
    if signals is not None:
        signals.got_request_exception.connect(_quart, weak=False)
    signals = sys.modules.get("django.core.signals")
    if signals is not None:
        signals.got_request_exception.connect(_django, weak=False, dispatch_uid=_UID)


async def _quart(app: Any, *, exception: Any, **_: object) -> None:
    try:
        request = sys.modules["quart"].request
        error = sys.modules["werkzeug.exceptions"].InternalServerError(original_exception=exception)
        goes_up = app.config["PROPAGATE_EXCEPTIONS"]
        if goes_up is None:
            goes_up = app.testing or app.debug
        if not goes_up and app._find_error_handler(error, request.blueprints) is None:
            request.scope[TOLD] = exception
    except Exception:  # another Quart: its own 500 stays
        return


def _django(*, request: Any, **_: object) -> None:
    error = sys.exception()
    try:
        if isinstance(error, Exception) and _is_bare(request):
            request.scope[TOLD] = error
    except Exception:  # another Django, or WSGI: its own 500 stays
        return


def _is_bare(request: Any) -> bool:
    settings: Any = sys.modules["django.conf"].settings
    urls: Any = sys.modules["django.urls"]
    if settings.DEBUG or settings.DEBUG_PROPAGATE_EXCEPTIONS:
        return False
    resolver = urls.get_resolver(getattr(request, "urlconf", None) or urls.get_urlconf())
    handler = resolver.resolve_error_handler(500)
    defaults: Any = sys.modules["django.views.defaults"]
    template: Any = sys.modules["django.template"]
    if handler is not defaults.server_error:
        return False
    try:
        template.loader.get_template(defaults.ERROR_500_TEMPLATE_NAME)
    except template.TemplateDoesNotExist:
        return True
    return False
