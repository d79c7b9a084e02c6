"""What the code that calls says about its request: how long it may take, and whether to send it twice."""

from math import inf
from typing import TYPE_CHECKING

from ..call import SAFE_METHODS, Resend
from .headers import is_key

if TYPE_CHECKING:
    import aiohttp

    from ..settings import ResilienceSettings

__all__ = ["limits", "resend_class"]

_EARLIER = 0.005
"""Seconds that our bound comes before aiohttp's own, which would end the call as a mere cancellation."""


def limits(wish: "aiohttp.ClientTimeout", settings: "ResilienceSettings", elapsed: float) -> tuple[float, float]:
    """Attempt and total timeout (seconds) for a call whose code wrote `wish`, `elapsed` seconds ago.

    aiohttp's total bounds the whole request with its redirects and our retries, so it is the bound of both. Neither
    a total nor `sock_read` means no bound, as with aiohttp. The phases alone never cut an attempt short.
    """
    if wish.total:
        left = wish.total - elapsed
        return wish.total, max(left - min(_EARLIER, left / 100), 0.0)
    if not wish.sock_read:
        return inf, inf
    written = wish.sock_read + (wish.connect or wish.sock_connect or 0.0)
    longer = max(0.0, written - settings.attempt_timeout)  # in this order: of nan it makes 0
    return settings.attempt_timeout + longer, settings.total_timeout + longer


def resend_class(request: "aiohttp.ClientRequest", in_memory: type, multipart: type) -> Resend:
    """May this request be sent again? RFC 9110, 9.2.2, and draft-ietf-httpapi-idempotency-key-header."""
    body = request.body
    if body and not _replayable(body, in_memory, multipart):
        return Resend.ONE_SHOT
    if request.method in SAFE_METHODS:
        return Resend.SAFE
    return Resend.KEYED if is_key(request.headers.get("idempotency-key")) else Resend.UNSAFE


def _replayable(body: object, in_memory: type, multipart: type) -> bool:
    """Bytes, text, JSON, forms; multipart where all its parts are such. Files and streams have a place of their own."""
    if isinstance(body, (in_memory, bytes)):
        return True
    parts = getattr(body, "_parts", None) if isinstance(body, multipart) else None
    return parts is not None and all(_replayable(part[0], in_memory, multipart) for part in parts)
