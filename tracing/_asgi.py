"""Words of ASGI and of ours in its scopes, for all that looks at messages."""

from typing import Final

__all__ = ["BEGINS", "SEEN"]

BEGINS: Final = ("http.response.start", "websocket.accept", "websocket.http.response.start")
"""Messages that begin an answer; they carry its headers."""

SEEN: Final = "handrail.tracing"
"""The key of a scope that has its SERVER span."""
