"""Secrets in free text: messages of exceptions, stack traces, log lines. What looks like one goes.

Text has no grammar, so this is a list of shapes: URLs, `key=value`, `name: value`, fields of a dict or of JSON,
credentials with their scheme, JSON web tokens, what h11 quotes of a header, what pydantic and SQLAlchemy quote of
the data. A secret that stands alone cannot be known. Strangers write such text: each pattern is linear in its length.
"""

import re
from collections.abc import Callable

from ._names import Names
from ._url import REDACTED, query, userinfo

__all__ = ["clean"]

_RUN = re.compile(r"//[^\s<>]*")
_QUERY = re.compile(r"\?(?<=[\w/.\-\]]\?)([^\s<>]+)")
# Found by what follows a name, which is rare; the name is read backwards. A scan for names takes five times as long.
_EQUALS = re.compile(r"=(?=[^\s=])")
_PAIR = re.compile(r"[\w.%\[\]-]{1,256}")
_PAIRED = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|[^\s&<>]*")
_COLON = re.compile(r":[ \t]{1,4}(?=\S)")
_LINE = re.compile(r"[\w-]{0,63}[A-Za-z](?![\w./-])")
_LINED = re.compile(r"[^\n]*")
_FIELD = re.compile(
    r"((?P<q>[\"'])(?P<name>[\w.\[\]-]{1,64})\\?(?P=q)\s{0,4}(?::|,(?=\s{0,4}b[\"'])|=>)\s{0,4})"
    r"(?P<value>b?\"(?:[^\"\\\n]|\\.)*\"|b?'(?:[^'\\\n]|\\.)*'|\\\"[^\"\n]*\"|[^\s,}\])]+)"
)
_SCHEMES = ("earer ", "EARER ", "asic ", "ASIC ", "igest ", "egotiate ")
_SCHEME = re.compile(
    r"\b((?:[Bb]earer|BEARER|[Bb]asic|BASIC|[Dd]igest|[Nn]egotiate) )"
    r"(?=[\w~+/.=-]{6})(?=[\w~+/.-]*(?:[0-9=]|[a-z][A-Z]))[\w~+/.=-]+"
)
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{4,}\.[\w-]{2,}(?:\.[\w-]*){0,3}")
_QUOTES = ("llegal ", "nvalid port", "input_value=", "[parameters: ", "'input': ")
_QUOTED = re.compile(
    r"((?:[Ii]llegal (?:header (?:name|value|line)|status line|request line|chunk header)|[Ii]nvalid port)[:,]?[ \t]"
    r"|\binput_value=|\[parameters: |'input': )[^\n]+"
)
_AFTER = "'\"),]}:."
"""What may follow a URL or a value in text, and stays."""


def clean(text: str, names: Names) -> str:
    """The text without what looks like a secret."""
    if "//" in text:
        text = _RUN.sub(_location, text)  # first: a password may hold / ? and #
    if "?" in text:
        text = _QUERY.sub(lambda match: "?" + _kept(match[1], lambda bare: _query(bare, names)), text)
    if "=" in text:
        text = _each(text, _EQUALS, _PAIR, _PAIRED, names)
    if "eyJ" in text:
        text = _JWT.sub(REDACTED, text)
    if "'" in text or '"' in text:
        text = _FIELD.sub(lambda match: _field(match, names), text)
    if ":" in text:
        text = _each(text, _COLON, _LINE, _LINED, names)
    if any(scheme in text for scheme in _SCHEMES):
        text = _SCHEME.sub(rf"\1{REDACTED}", text)
    if any(quote in text for quote in _QUOTES):
        text = _QUOTED.sub(rf"\1{REDACTED}", text)
    return text


def _location(match: re.Match[str]) -> str:
    text, hash_, fragment = userinfo(match[0]).partition("#")
    return text + hash_ + _kept(fragment, lambda bare: REDACTED if bare else "")


def _query(text: str, names: Names) -> str:
    text, hash_, fragment = text.partition("#")
    return query(text, names) + hash_ + (REDACTED if fragment else "")


def _kept(text: str, change: Callable[[str], str]) -> str:
    bare = text.rstrip(_AFTER)
    return change(bare) + text[len(bare) :]


def _each(text: str, mark: re.Pattern[str], name: re.Pattern[str], value: re.Pattern[str], names: Names) -> str:
    """Hide the values after each `mark` before which stands the name of a secret."""
    parts: list[str] = []
    done = 0
    for match in mark.finditer(text):
        start, here = match.span()
        if start < done:
            continue
        before = name.match(text[max(done, start - 260) : start][::-1])
        if before is None or not _is_secret(before[0][::-1], text[max(0, start - len(before[0]) - 1) : start], names):
            continue
        found = value.match(text, here)
        hidden = found[0] if found else ""
        parts.append(text[done:here])
        parts.append(REDACTED if hidden[:1] in ("'", '"') else _kept(hidden, lambda _bare: REDACTED))
        done = here + len(hidden)
    return "".join([*parts, text[done:]]) if parts else text


def _is_secret(name: str, with_one_before: str, names: Names) -> bool:
    if with_one_before[:1] in ("?", "&", ";"):
        return names.hides(name)
    if name[1:] != name[1:].lower() and name[:1].isupper() and "-" not in name and not name.isupper():
        return False  # InvalidToken: is the name of a class
    return names.hides_in_text(name)


def _field(match: re.Match[str], names: Names) -> str:
    if not names.hides_in_text(match["name"]):
        return match[0]
    value = match["value"]
    quote = value[-1] if value[-1] in "'\"" else ""
    return f"{match[1]}{quote}{REDACTED}{quote}"
