"""What never leaves: credentials in URLs, headers and text, by default and without being asked.

The process has one `Redaction`; `use` sets it from the settings. Most functions of this module are its methods.
Everything here returns text for any text, and its own output unchanged.
"""

import re
import traceback
from collections.abc import Callable, Mapping
from typing import Final

from .._naming import qualified_name
from . import _text as _redact_text
from . import _url as _redact_url
from ._headers import HeaderCapture, captures
from ._hint import may_hold
from ._names import Names, squeezed
from ._route import RouteSecrets
from ._url import REDACTED, destination

__all__ = [
    "REDACTED",
    "HeaderCapture",
    "Redaction",
    "captures",
    "current",
    "destination",
    "exception",
    "field",
    "header",
    "path",
    "protocol",
    "query",
    "text",
    "told",
    "url",
    "use",
]

_KEYS = re.compile(r"(?<![^=&;?#/])([^=&;?#/]+)=").findall
_MOST_KEYS = 1024
_MOST_TEXTS = 32


class Redaction:
    """What is hidden. `deny` and `allow` are names of headers, query keys and fields; case and separators of a name
    do not count. `deny` wins over `allow`, `allow` over the default list. User names and passwords in URLs and
    fragments are hidden in any case.
    """

    def __init__(self, deny: tuple[str, ...] = (), allow: tuple[str, ...] = ()) -> None:
        self.names = Names(tuple(deny), tuple(allow))
        self._harmless: set[str] = set()
        self._texts: dict[str, str] = {}
        self._routes = RouteSecrets(self.names.hides)

    def query(self, text: str) -> str:
        """A query string without its secrets."""
        if "%" not in text and "@" not in text and '"' not in text and "eyJ" not in text and "earer" not in text:
            keys = _KEYS(text)
            if self._harmless.issuperset(keys):
                return text
            self._learn(keys)
        return _redact_url.query(text, self.names)

    def url(self, text: str) -> str:
        """A URL without user name, password, fragment and the secrets of its query."""
        if "?" not in text and "@" not in text and "#" not in text and ";" not in text and "eyJ" not in text:
            return text
        return _redact_url.url(text, self.names)

    def path(self, route: str, path: str) -> str:
        """The path of a request that matched `route`: what stands for a parameter named like a secret is hidden."""
        return self._routes.hide(route, path)

    def parameters(self, path: str, found: object) -> str:
        """The path without the values of the path parameters (ASGI `path_params`) that are named like secrets."""
        if isinstance(found, Mapping):
            for name, value in found.items():
                if (text := str(value)) and self.names.hides(str(name)):
                    path = path.replace(text, REDACTED) if isinstance(value, str) else _without(path, squeezed(text))
        return path

    def header(self, name: str) -> bool:
        """Whether the value of this header is hidden."""
        return self.names.hides_header(name)

    def field(self, name: str) -> bool:
        """Whether the value of this field, of a log record for example, is hidden."""
        return self.names.hides_in_text(name)

    def text(self, text: str) -> str:
        """Free text, such as the message of an exception, without what looks like a secret."""
        found = self._texts.get(text)
        if found is None:
            if not may_hold(text, self.names):
                return text
            found = _redact_text.clean(text, self.names)
            if len(self._texts) >= _MOST_TEXTS:
                self._texts.clear()
            if len(found) <= _LONGEST:
                self._texts[found] = found  # it is asked for again, just before the span is encoded
        return found

    def _learn(self, keys: list[str]) -> None:
        if len(self._harmless) < _MOST_KEYS:  # strangers choose keys
            self._harmless.update(key for key in keys if len(key) <= 64 and not self.names.hides(key))


def _without(path: str, value: str) -> str:
    # Of a UUID or a number the path may have another spelling.
    return "/".join([REDACTED if squeezed(part).lstrip("0") == value.lstrip("0") else part for part in path.split("/")])


_current = Redaction()


def use(redaction: Redaction) -> Callable[[], None]:
    """Make it the process's; returns what undoes that."""
    global _current
    before, _current = _current, redaction

    def undo() -> None:
        global _current
        if _current is redaction:
            _current = before

    return undo


def current() -> Redaction:
    """The process's."""
    return _current


def query(text: str) -> str:
    """`Redaction.query` of the process."""
    return _current.query(text)


def url(text: str) -> str:
    """`Redaction.url` of the process."""
    return _current.url(text)


def path(route: str, path: str) -> str:
    """`Redaction.path` of the process."""
    return _current.path(route, path)


def header(name: str) -> bool:
    """`Redaction.header` of the process."""
    return _current.header(name)


def field(name: str) -> bool:
    """`Redaction.field` of the process."""
    return _current.field(name)


def text(text: str) -> str:
    """`Redaction.text` of the process."""
    return _current.text(text)


_LONGEST: Final = 64 * 1024
"""Characters of a message or a stack trace: strangers can make them long, and each is scanned on the event loop."""


_is_protocol = re.compile(r"(?=.{1,40}$)[a-z]{1,12}\d{0,2}(?:[._-][a-z]{0,12}\d{0,2}){0,4}").fullmatch


def protocol(name: str) -> str:
    """A websocket's subprotocol where it reads like a name (`graphql-ws`, `v12.stomp`, `ocpp1.6`).

    A browser can send a token nowhere else in a handshake, and a server that takes it that way has to echo it.
    """
    return name if _is_protocol(name) else REDACTED


def exception(error: BaseException, *, escaped: bool = False) -> dict[str, str]:
    """The attributes of the event `exception`, with the names and the form of the SDK's `record_exception`."""
    return {
        "exception.type": qualified_name(type(error)),
        "exception.message": told(_said(error)),
        "exception.stacktrace": told("".join(traceback.format_exception(error)), end=True),
        "exception.escaped": str(escaped),
    }


def told(said: str, *, end: bool = False) -> str:
    """`text`, for what an exception says: of more than 64 Ki characters the first are kept, or the last lines."""
    if len(said) > _LONGEST:
        # Only at the end of a line: the name of a secret must not be cut off from its value.
        cut = said.find("\n", len(said) - _LONGEST) + 1 if end else 0
        said = (said[cut:] if cut else "") or said[:_LONGEST]
    return text(said)


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a __str__ that fails must not hide the error that it stands for
        return ""
