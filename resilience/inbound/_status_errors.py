"""The errors of `raise_for_status()`, of every client library that is there: what the dependency answered."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..outbound.failure import Failure, failure_of

__all__ = ["Refusal", "refusal_of"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that the service's code made an error of. `target` is its origin, `failure` what the pipeline noted."""

    status: int
    target: str
    headers: Mapping[str, str]
    failure: Failure | None


def refusal_of(error: BaseException) -> Refusal | None:
    """What the error of a `raise_for_status()` is about; None for any other error, and for one made without a response.

    No library is imported: where nobody did, none of its errors can have come.
    """
    for library, (kind, read) in _KINDS.items():
        module = sys.modules.get(library)
        if module is not None and isinstance(error, getattr(module, kind, ())):
            return read(error)
    return None


def _of_response(error: Any) -> Refusal | None:
    response = error.response
    if response is None:  # requests' can be made by hand
        return None
    return Refusal(response.status_code, _origin(response.url), response.headers, failure_of(response))


def _of_aiohttp(error: Any) -> Refusal:
    about = error.request_info  # all that leads from the error to its response
    return Refusal(error.status, _origin(about.url), error.headers or {}, failure_of(about))


def _origin(url: object) -> str:
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


_KINDS: dict[str, tuple[str, Callable[[Any], Refusal | None]]] = {
    "httpx": ("HTTPStatusError", _of_response),
    "httpx2": ("HTTPStatusError", _of_response),
    "requests": ("HTTPError", _of_response),
    "aiohttp": ("ClientResponseError", _of_aiohttp),
}
