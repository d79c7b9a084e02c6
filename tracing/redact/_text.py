"""Secrets in free text: messages of exceptions, stack traces, log lines. What looks like one goes.

Text has no grammar, so this is a list of shapes: URLs, `key=value`, `name: value`, what `_shapes` knows, what h11
quotes of a header, what pydantic and SQLAlchemy quote of the data. A secret that stands alone cannot be known.
Strangers write such text: each pattern is linear in its length.
"""

import re
from collections.abc import Callable

from ._names import Names
from ._shapes import REDACTED, fields, schemes, web_tokens
from ._url import query, userinfo

__all__ = ["clean"]

_RUN = re.compile(r"//[^\s<>]*")
_QUERY = re.compile(r"\?(?<=[\w/.\-\]]\?)([^\s<>]+)")
# Found by what follows a name, which is rare; the name is read backwards. A scan for names takes five times as long.
_EQUALS = re.compile(r"={1,2}[ \t]{0,4}(?=[^\s=])")
_PAIR = re.compile(r"[\w.%\[\]-]{1,256}")
_LITERAL = r"[bBrRuUfF]{0,2}\"(?:[^\"\\\n]|\\.)*\"|[bBrRuUfF]{0,2}'(?:[^'\\\n]|\\.)*'|[\[({][^\])}\n]*[\])}]?"
_IN_QUERY = re.compile(rf"{_LITERAL}|[^\s&<>]*")
_PAIRED = re.compile(rf"{_LITERAL}|<?[^\s&<>]*(?:&(?![\w.%\[\]-]+=)[^\s&<>]*)*")
_CODE = re.compile(r"(?:await|not|None|True|False)\b|(?:self|cls)\.|[A-Za-z_][\w.]*[\[(]").match
_BY_VALUE = frozenset({"auth", "pass"})

_COLON = re.compile(r":(?:[ \t]{1,4}(?=\S)|(?=[^\s:=])(?!//))")
_LINE = re.compile(r"[\w-]{0,63}[A-Za-z](?![\w./-])")
_LINED = re.compile(r"[^\n]*")
_WORD = re.compile(rf"{_LITERAL}|[^\s,;&<>}}\])]*")
_WHOLE_LINES = ("cookie", "authorization")
_CONVERTER = re.compile(r"[<>^]?\.?\d{0,2}[a-z]*\}").match
_CLASS = re.compile(
    r"(?:Bad|Broken|Duplicate|Empty|Expired|Failed|Illegal|Immature|Inactive|Incorrect|Insufficient|Invalid|Malformed"
    r"|Mismatch(?:ed|ing)?|Missing|No|Revoked|Unauthorized|Unexpected|Unknown|Unsupported|Untrusted|Unusable|Unverified"
    r"|Weak|Wrong)[A-Z]"
).match

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
        text = _pairs(text, names)
    text = fields(web_tokens(text), names)
    if ":" in text:
        text = _lines(text, names)
    text = schemes(text)
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


def _pairs(text: str, names: Names) -> str:
    """Hide the value behind each `=` before which stands the name of a secret."""
    parts: list[str] = []
    done = 0
    for match in _EQUALS.finditer(text):
        start, here = match.span()
        if start < done:
            continue
        head = text[max(done, start - 260) : start]
        bare = head.rstrip(" \t:!")
        found = _PAIR.match(bare[::-1])
        if found is None:
            continue
        name = found[0][::-1]
        in_query = bare[-len(name) - 1 : -len(name)] in ("?", "&", ";")
        first = text[here]
        if not _is_paired(name, first, names, in_query=in_query):
            continue
        spaced = len(bare) < len(head) or text[here - 1] in " \t"  # also the source that a stack quotes
        if spaced and first not in "'\"" and (match[0].startswith("==") or _CODE(text, here)):
            continue
        value = (_IN_QUERY if in_query else _PAIRED).match(text, here)
        hidden = value[0] if value else ""
        parts += (text[done:here], _hidden(hidden))
        done = here + len(hidden)
    return "".join([*parts, text[done:]]) if parts else text


def _is_paired(name: str, first: str, names: Names, *, in_query: bool) -> bool:
    if in_query:
        return names.hides(name)
    # auth=("user", "password"), but not auth=basic
    return names.hides_in_text(name) or (first in "'\"(" and name in _BY_VALUE and names.hides(name))


def _lines(text: str, names: Names) -> str:
    """Hide the value behind each `:` before which stands the name of a secret: of `name: value` the whole line."""
    parts: list[str] = []
    done = 0
    for match in _COLON.finditer(text):
        start, here = match.span()
        if start < done:
            continue
        found = _LINE.match(text[max(done, start - 65) : start][::-1])
        if found is None:
            continue
        name = found[0][::-1]
        if _CLASS(name) or not names.hides_in_text(name):
            continue
        whole = here > start + 1 or name.lower().endswith(_WHOLE_LINES)
        if not whole and text[start - len(name) - 1 : start - len(name)] == "{" and _CONVERTER(text, here):
            continue  # a route, /reset/{token:uuid}, or a format
        value = (_LINED if whole else _WORD).match(text, here)
        hidden = value[0] if value else ""
        parts += (text[done:here], _hidden(hidden))
        done = here + len(hidden)
    return "".join([*parts, text[done:]]) if parts else text


def _hidden(value: str) -> str:
    return REDACTED if value[:1] in ("'", '"') else _kept(value, lambda _bare: REDACTED)
