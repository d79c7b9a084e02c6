"""What an attempt tells the peer, written into the headers of httpx: one pass and one copy on a call that goes well."""

from math import inf
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..call import Call
from .headers import outgoing

if TYPE_CHECKING:
    import httpx

    from ..policy import Tools

__all__ = ["Telling"]


class Telling:
    """Writes for one of `httpx` and `httpx2`."""

    def __init__(self, module: ModuleType, tools: "Tools") -> None:
        self._kind: Any = module.Headers
        self._tools = tools
        self._now = tools.clock.now
        self._names = tools.headers
        self._told: tuple[int | None, tuple[bytes, bytes, bytes]] = None, (b"", b"", b"")  # in one: threads cross
        # httpx keeps (name as written, name in lower case, value); should it ever not, its public way serves.
        self._quick = getattr(module.Headers({"a": "b"}), "_list", 0) == [(b"a", b"a", b"b")]

    def headers(self, written: "httpx.Headers", call: "Call[Any]") -> "httpx.Headers":
        """The headers of one attempt: a copy, or those that the code wrote where there is nothing to tell."""
        if self._quick and call.attempt == 1 and call.key is None and type(written) is self._kind:
            ends = call.attempt_ends
            name = self._names.encoded
            if ends == inf or not name:
                return written
            items = written._list
            for item in items:
                if item[1] == name:
                    break
            else:
                copy: httpx.Headers = object.__new__(self._kind)
                copy._list = [*items, self._left(name, ends)]
                copy._encoding = written._encoding
                return copy
        told = outgoing(call, self._tools, written.get)
        if not told:
            return written
        changed: httpx.Headers = self._kind(written)
        for key, value in told:
            changed[key] = value
        return changed

    def _left(self, name: bytes, ends: float) -> tuple[bytes, bytes, bytes]:
        """The header that says how long is left until `ends`."""
        left = int((ends - self._now()) * 1000)  # `milliseconds`, without its call
        known, item = self._told
        if left != known or item[0] is not name:  # hardly ever: most calls have all of an attempt's time
            item = (name, name, b"%d" % (left if left > 0 else 1))
            self._told = left, item
        return item
