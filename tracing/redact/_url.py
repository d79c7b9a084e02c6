"""Secrets in URLs: user names and passwords, the values of query keys, fragments. Linear in the length of the text."""

import re
from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

from ._names import Names
from ._shapes import REDACTED, fields, schemes, web_tokens

__all__ = ["REDACTED", "destination", "pairs", "query", "url", "userinfo"]

_SOMEBODY = f"{REDACTED}:{REDACTED}"
# Every start is at the beginning of a run of such characters: without the lookbehind a long run costs its square.
_KEY = re.compile(r"(?<![^=&;?#\s/])([^=&;?#\s/]+)=")
_REST = re.compile(r"[^&#]*")
_ENCODED = re.compile(
    r"%(?:25)*(?:3[dD]|40|2[237]|3[cC])|(?:earer|EARER|asic|ASIC|igest|egotiate)%(?:25)*(?:20|2[bB])"
).search
_RUN = re.compile(r"//[^\s<>]*")
_AUTHORITY = re.compile(r"[^/?#]*")
_ODD = re.compile(r"[^/?#:\[]*:(?!\d*(?:[/?#]|$))").match
_DEEPEST = 4

Hides = Callable[[str], bool]


def destination(text: str) -> str:
    """Where something is sent to, as it may be logged: the URL without user, password and query."""
    parts = urlsplit(text)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def userinfo(text: str) -> str:
    """Hide what stands between `//` and the `@` of a host."""
    return _RUN.sub(_run, text) if "@" in text and "//" in text else text


def _run(match: re.Match[str]) -> str:
    """One run without spaces; several URLs may be in it, and a password may hold `/`, `?` and `#`."""
    text = match[0]
    parts: list[str] = []
    done, here = 0, 0
    while (here := text.find("//", here)) >= 0:
        here += 2
        host = _authority(text, here)
        if host is not None:
            parts += (text[done:here], _SOMEBODY)
            done = here = host
    parts.append(text[done:])
    return "".join(parts)


def _authority(text: str, start: int) -> int | None:
    """Where the `@` is that ends the userinfo which begins at `start`."""
    found = _AUTHORITY.match(text, start)
    end = found.end() if found else start
    at = text.rfind("@", start, end)
    if at < 0 and _ODD(text, start) and (at := text.find("@", end)) >= 0:
        found = _AUTHORITY.match(text, at)
        at = text.rfind("@", at, found.end() if found else at + 1)
    return at if at >= 0 else None


def pairs(text: str, hides: Hides, rest: re.Pattern[str] = _REST) -> str:
    """Hide the values of the keys that `hides` names; a value goes on as far as `rest` matches."""
    parts: list[str] = []
    done = 0
    for match in _KEY.finditer(text):
        if match.start() < done or not hides(match[1]):
            continue
        value = rest.match(text, match.end())
        parts += (text[done : match.end()], REDACTED)
        done = value.end() if value else match.end()
    if not done:
        return text
    parts.append(text[done:])
    return "".join(parts)


def query(text: str, names: Names, depth: int = 0) -> str:
    """A query without its secrets, also those in a URL or in JSON that is itself a value, percent-encoded or not."""
    text = userinfo(pairs(schemes(fields(web_tokens(text), names)), names.hides))
    if _ENCODED(text) is None:
        return text
    return "&".join([_nested(part, names, depth) for part in text.split("&")])


def _nested(part: str, names: Names, depth: int) -> str:
    if _ENCODED(part) is None:
        return part
    key, equals, value = part.partition("=")
    if not equals:
        key, value = "", part
    if depth >= _DEEPEST:
        return key + equals + REDACTED
    plain = unquote(value)
    clean = (url if "//" in plain else query)(plain, names, depth + 1)
    return part if clean == plain else key + equals + quote(clean, safe="/:?@")


def url(text: str, names: Names, depth: int = 0) -> str:
    """A URL without its secrets; a fragment goes as a whole."""
    text, hash_, fragment = userinfo(text).partition("#")  # a password may hold a #
    path, mark, rest = text.partition("?")
    if ";" in path:
        path = pairs(path, names.hides, _PARAMETER)
    if rest:
        rest = query(rest, names, depth)
    return f"{path}{mark}{rest}{hash_}{REDACTED if fragment else ''}"


_PARAMETER = re.compile(r"[^/&?#;]*")
