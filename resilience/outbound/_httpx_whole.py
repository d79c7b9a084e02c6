"""Hands a body that was read within the attempt to the client in one piece.

`Response.read` pulls a body through four generators, for a stream of which nobody knows how long it is; one that is in
memory already needs none of them. What the response looks like afterwards is the same.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from ._httpx_bodies import Chunks

if TYPE_CHECKING:
    import httpx

__all__ = ["reading", "reading_async"]

_CODED = b"content-encoding"
_UNKNOWN = [(b"", _CODED, b"")]


def reading_async(original: Callable[..., Any]) -> Callable[..., Any]:
    """`Response.aread`, by the short way where there is one."""

    @wraps(original)
    async def aread(response: "httpx.Response") -> bytes:
        body = _body(response)
        if body is None:
            content: bytes = await original(response)
            return content
        content = _taken(response, body)
        await response.aclose()
        response._content = content
        return content

    return aread


def reading(original: Callable[..., Any]) -> Callable[..., Any]:
    """`Response.read`, likewise."""

    @wraps(original)
    def read(response: "httpx.Response") -> bytes:
        body = _body(response)
        if body is None:
            content: bytes = original(response)
            return content
        content = _taken(response, body)
        response.close()
        response._content = content
        return content

    return read


def _body(response: "httpx.Response") -> Chunks | None:
    """The body of a response that is in memory, and as the peer meant it; None where httpx itself is to read.

    Two attributes of httpx's inside are relied on: the client's stream has the transport's in `_stream`, and headers
    are kept as (name as written, name in lower case, value). Where either is otherwise, httpx reads.
    """
    body = getattr(response.stream, "_stream", None)
    if not isinstance(body, Chunks) or not body.unread or response.is_stream_consumed or response.is_closed:
        return None
    for item in getattr(response.headers, "_list", _UNKNOWN):
        if item[1] == _CODED:
            return None
    return body


def _taken(response: "httpx.Response", body: Chunks) -> bytes:
    content = body.taken()
    response.is_stream_consumed = True
    response._num_bytes_downloaded = len(content)
    return content
