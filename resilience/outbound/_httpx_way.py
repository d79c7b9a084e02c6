"""By which way a transport of httpx reaches its peer.

An SSLContext does not say what was loaded into it. So the arguments are noted where a transport is made: else no two
clients would have the same way, and a client for each call is what most services have.
"""

import os
import weakref
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any

from ._way import same

__all__ = ["noting", "way"]

_NOTED = "_handrail_way"
_ENVIRON = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_OF_POOL = ("_proxy_headers", "_proxy_auth", "_proxy_ssl_context", "_local_address")


def noting(original: Any) -> Callable[..., None]:
    """`__init__` of a transport, which also keeps what it was told of certificates; no password of a key."""

    @wraps(original)
    def init(transport: Any, *args: Any, **options: Any) -> None:
        original(transport, *args, **options)
        told = dict(zip(("verify", "cert", "trust_env"), args, strict=False)) | options
        cert = told.get("cert")
        named = cert[:2] if isinstance(cert, tuple) else cert
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            trusted = [os.environ.get(name) for name in _ENVIRON] if told.get("trust_env", True) else None
            noted = same((told.get("verify", True), named, trusted))
            setattr(transport, _NOTED, (weakref.ref(pool), noted))

    return init


def way(transport: Any, library: str) -> Hashable:
    """Equal for two transports that reach the same peer in the same way, as the same client."""
    pool = getattr(transport, "_pool", None)
    made, noted = getattr(transport, _NOTED, (None, None))
    if made is None or made() is not pool:  # made before handrail came, or given another pool since
        noted = same(getattr(pool, "_ssl_context", pool))
    url = getattr(pool, "_proxy_url", None)
    through = None if url is None else bytes(url)
    return library, noted, through, *(same(getattr(pool, name, None)) for name in _OF_POOL)
