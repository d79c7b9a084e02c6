"""Whose a key is, where a credential says it: the same for all credentials of one caller.

A token is renewed, and a signature is another one for each request. Whoever sends a request again, an hour later or
signed anew, is still the same caller with the same key. Nothing of this is verified here, that is for the app: so a
credential that differs is refused, and never answered.
"""

import json
import re
from base64 import urlsafe_b64decode

__all__ = ["caller_of"]

_WHO = ("iss", "sub", "client_id", "azp")
"""Claims that stay when a token is renewed (RFC 7519, RFC 9068, OpenID Connect)."""
_JWT = re.compile(rb"(?:[A-Za-z]+ +)?(eyJ[\w-]*)\.([\w-]+)\.[\w-]*").fullmatch
_SIGNED = re.compile(rb"([\w-]+) (.*\b(?:signature|response|mac|oauth_signature)=.*)", re.IGNORECASE).fullmatch
_PARAMETER = re.compile(rb'(?<![\w-])([\w-]+)="?([^",\s]*)"?').findall
_NAMES = frozenset({b"credential", b"username", b"id", b"keyid", b"oauth_consumer_key", b"oauth_token"})
"""In AWS Signature 4, Digest (RFC 7616), Hawk, HTTP signatures and OAuth 1 (RFC 5849)."""


def caller_of(credential: bytes) -> bytes | None:
    """What stays the same in a credential that changes; None where it is one as a whole, or tells nothing.

    Of a JWT its issuer, subject and client; of a signature the name of its key. Takes the value of a header.
    """
    if match := _JWT(credential):
        return _subject(match[2])
    if match := _SIGNED(credential):
        found = sorted(
            (name.lower(), value.partition(b"/")[0])
            for name, value in _PARAMETER(match[2])
            if name.lower() in _NAMES and value
        )
        if found:
            return b" ".join([match[1].lower(), *(b"%b=%b" % one for one in found)])
    return None


def _subject(payload: bytes) -> bytes | None:
    try:
        claims = json.loads(urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(claims, dict) or not any(claims.get(name) for name in _WHO[1:]):
        return None
    return json.dumps([claims.get(name) for name in _WHO]).encode()
