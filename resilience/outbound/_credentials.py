"""Credentials that are good for one request."""

from collections.abc import Mapping

__all__ = ["one_time"]

_ONE_TIME = {"digest": "nc=", "oauth": "oauth_nonce=", "hawk": "nonce="}


def one_time(headers: Mapping[str, str]) -> bool:
    """Whether the credentials of a request are spent once the peer has seen them, so that a second sending is a replay.

    Digest with a nonce count (RFC 7616, 3.4), the nonces of OAuth 1 (RFC 5849, 3.3) and Hawk, and DPoP proofs
    (RFC 9449, 11.1).
    """
    for name in ("authorization", "proxy-authorization"):
        scheme, _, told = headers.get(name, "").partition(" ")
        mark = _ONE_TIME.get(scheme.lower())
        if mark is not None and mark in told:
            return True
    return "dpop" in headers
