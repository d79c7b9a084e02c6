"""Which names of query keys, headers and fields mean a secret: the default list, and why each is on it.

A name is compared in lower case, without anything but letters and digits, so `api_key`, `API-Key` and `apiKey` are
one. Of `user[password]` and `user.password` each part counts as well.
"""

import re
from typing import Final
from urllib.parse import unquote

__all__ = ["Names"]

ENDINGS: Final = (
    "token",  # access_token, refresh_token, id_token, csrf_token, X-Amz-Security-Token, X-Auth-Token
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",  # client_secret
    "signature",  # Signature, X-Amz-Signature, X-Goog-Signature, q-signature
    "credential",  # X-Amz-Credential, X-Goog-Credential
    "credentials",
    "apikey",  # api_key, X-Api-Key
    "accesskey",
    "accesskeyid",  # AWSAccessKeyId, OSSAccessKeyId
    "accountkey",  # Azure storage
    "authkey",
    "encryptionkey",
    "masterkey",
    "sharedkey",
    "privatekey",
    "secretkey",
    "secretkeybase",  # Rails
    "signingkey",
    "subscriptionkey",  # Azure API management
    "functionskey",  # Azure functions
    "sessionid",
    "sessionkey",
    "authorization",
    "cookie",
    "jwt",
    "assertion",  # client_assertion, X-Goog-IAP-JWT-Assertion
    "verifier",  # code_verifier (RFC 7636), oauth_verifier
    "tokenhint",  # id_token_hint
    "authcode",
    "devicecode",  # RFC 8628
    "otpcode",
    "pincode",
)
"""A name that ends so is hidden, also in the plural, and with a number or a version behind it."""

WORDS: Final = frozenset(
    {
        "sig",  # Azure's shared access signatures; on the list of the conventions
        "key",  # Google's APIs
        "code",  # OAuth's authorization code (RFC 6749, 4.1.2); Azure functions
        "auth",
        "pass",
        "pwd",
        "session",
        "sid",
        "jsessionid",
        "phpsessid",
        "ticket",  # CAS
        "otp",
        "pin",
        "bearer",
        "hmac",
        "samlresponse",
    }
)
"""A name that is exactly this is hidden."""

HEADERS: Final = frozenset(
    {
        "authenticationinfo",
        "dpop",
        "secwebsocketprotocol",  # browsers can send a token in no other header of a handshake
        "xamznoidcdata",
        "xhubsignature256",
        "xmsclientprincipal",
    }
)
"""Headers whose names do not say it; they are hidden besides those that the rules above hide."""

CURSORS: Final = frozenset({"pagetoken", "nextpagetoken", "nexttoken", "continuationtoken", "synctoken"})
"""Places in a list (AIP-158, AWS), no secrets."""

_COUNTED = re.compile(
    r"(?:max|min|num|prompt|completion|input|output|total|cached|reasoning|used|usage).*tokens"
).fullmatch
"""`max_tokens`, `prompt_tokens`: what language models count."""

_COMMON: Final = frozenset({"key", "code", "auth", "pass", "session", "sid", "sig", "ticket", "pin"})
"""Words that text outside a URL is full of: `status code=404`, `key: 7`."""

_NUMBER = re.compile(r"(?<=[a-z])v?\d{1,4}$").sub
_SQUEEZE = re.compile(r"[\W_]+").sub
_PARTS = re.compile(r"[][.]+").split
_MOST_DECODED = 4
_MOST_KNOWN = 2048


def squeezed(name: str) -> str:
    """The name as it is compared."""
    return _SQUEEZE("", _decoded(name)).lower()


def _decoded(name: str) -> str:
    for _ in range(_MOST_DECODED):
        if "%" not in name:
            break
        name = unquote(name)
    return name


class Names:
    """Says which names are hidden. `deny` adds names and wins over `allow`, which wins over the default list."""

    def __init__(self, deny: tuple[str, ...] = (), allow: tuple[str, ...] = ()) -> None:
        self.denied = frozenset(filter(None, map(squeezed, deny)))
        self.allowed = frozenset(filter(None, map(squeezed, allow))) - self.denied
        self._known: dict[str, bool] = {}

    def hides(self, name: str) -> bool:
        """Whether the value of this query key or field is hidden."""
        found = self._known.get(name)
        if found is None:
            found = self._judge(name)
            if len(self._known) < _MOST_KNOWN and len(name) <= 64:  # strangers choose names
                self._known[name] = found
        return found

    def hides_header(self, name: str) -> bool:
        """Whether the value of this header is hidden."""
        plain = squeezed(name)
        return self.hides(name) or (plain in HEADERS and plain not in self.allowed)

    def hides_in_text(self, name: str) -> bool:
        """As `hides`, for text that is no URL: words that are too common count only where they were denied."""
        plain = squeezed(name)
        return self.hides_header(name) and (plain not in _COMMON or plain in self.denied)

    def _judge(self, name: str) -> bool:
        name = _decoded(name)  # %75ser%5Bpassword%5D has parts only once it is decoded
        whole = squeezed(name)
        if whole in self.denied or whole in self.allowed:
            return whole in self.denied
        return any(map(self._is_secret, {whole, *map(squeezed, _PARTS(name))}))

    def _is_secret(self, plain: str) -> bool:
        if plain in self.denied:
            return True
        if plain in self.allowed or plain in CURSORS or _COUNTED(plain):
            return False
        if plain in WORDS or plain.endswith(ENDINGS):
            return True
        one = _NUMBER("", plain).removesuffix("s")
        return one not in self.allowed and one not in CURSORS and one.endswith(ENDINGS)
