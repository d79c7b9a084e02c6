"""What a service says of keys, and to whom: the header on its answers; see `keyed.Promise` for whoever reads it."""

import re
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ..keyed import HONOURED, HONOURS, seen
from ._idempotency_answer import with_header
from ._idempotency_request import Asked
from ._idempotency_run import Courier

if TYPE_CHECKING:
    from starlette.types import Message, Send

__all__ = ["Saying", "saying"]

_HOST = re.compile(rb"[\w.:\[\]-]{1,255}").fullmatch


class Saying:
    """The header, made once for each store and Host that follow each other; `courier` knows the store."""

    __slots__ = ("_courier", "_last")

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._last: tuple[str | None, bytes, tuple[bytes, bytes]] = (None, b"", (b"", b""))
        """Store, Host, and what is said to it: one object, since several loops may come here at a time."""

    def header(self, host: bytes, asked: Asked | None = None) -> tuple[bytes, bytes] | None:
        """Which store we have, and to whom that is said: see `Promise`. None while the store is away: no key would be
        worth anything.
        """
        identity = self._courier.identity
        if identity is None:
            return None
        store, to, said = self._last
        if host != to or identity != store:
            known = host if _HOST(host) else b""
            said = (HONOURS.encode(), b'%b;store="%b";host="%b"' % (HONOURED.encode(), identity.encode(), known))
            self._last = (identity, host, said)
        if asked is None or asked.store is None:
            return said
        return said[0], b'%b;key="%b"' % (said[1], seen(asked.key).encode())

    def elsewhere(self, asked: Asked) -> bool:
        """Whether the caller relies on another store than ours, as far as ours is known."""
        identity = self._courier.identity
        return asked.store is not None and identity is not None and asked.store != identity


def saying(send: "Send", said: tuple[bytes, bytes]) -> "Send":
    """The `send` of a request without a key: its answer says `said`."""

    def sent(message: "Message") -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = {**message, "headers": with_header(message.get("headers", ()), said)}
        return send(message)

    return sent
