"""Secrets that show themselves, in text and in the values of a query: fields of JSON and of a dict, pairs, XML,
options of a command, credentials with their scheme, JSON web tokens. Each pattern is linear in the length.
"""

import re

from ._names import Names

__all__ = ["REDACTED", "fields", "schemes", "web_tokens"]

REDACTED = "REDACTED"
"""The word that the HTTP conventions use."""

_TEXT = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
_FIELD = re.compile(r"(?P<q>[\"'])(?P<name>[\w.\[\]-]{1,64})\\?(?P=q)\s{0,4}(?::|,(?=\s{0,4}b[\"'])|=>)\s{0,4}")
_FIELDED = re.compile(
    r"b?\"(?:[^\"\\\n]|\\.)*\"|b?'(?:[^'\\\n]|\\.)*'|\\\"[^\"\n]*\""
    r"|[\[({][^\])}]{0,1024}[\])}]?|[^\s,}\])]+"
)
# ('token', 'x') and [["token", "x"]] are pairs; ['token', 'password'] is a list of names.
_COUPLE = re.compile(
    rf"((?:\(|(?<=\[)\[|(?<=,)\[|(?<=, )\[)(?P<q>[\"'])(?P<name>[\w.-]{{1,64}})(?P=q),\s{{0,4}})(?P<value>{_TEXT})"
    r"(?=,?\s{0,4}[)\]])"
)
_OPTIONS = re.compile(rf"((?P<q>[\"'])--?(?P<name>[A-Za-z][\w-]{{0,63}})(?P=q),\s{{0,4}})(?P<value>{_TEXT})")
# A value is told from the next word of a sentence by what a word does not have.
_OPTION = re.compile(
    rf"((?<![\w-])--(?P<name>[A-Za-z][\w-]{{0,63}})[ \t]{{1,4}})"
    rf"(?P<value>{_TEXT}|(?![-\"'])(?=\S*[^a-z\s.,;:)'\"])[^\s'\"]+)"
)
_TAG = re.compile(r"(<(?P<name>[\w:.-]{1,64})(?: [^<>\n]{0,200})?>)(?P<value>[^<>]+)(?=</)")

_SCHEMES = ("earer", "EARER", "asic", "ASIC", "igest", "egotiate")
_SCHEME = re.compile(r"\b((?:[Bb]earer|BEARER|[Bb]asic|BASIC|[Dd]igest|[Nn]egotiate)[ +])([\w~+/.=-]{6,})")
_NO_WORD = re.compile(r"[0-9=]|[a-z][A-Z]").search
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{4,}\.[\w-]{2,}(?:\.[\w-]*){0,3}")


def fields(text: str, names: Names) -> str:
    """Without the values of fields that are named like secrets."""

    def shown(match: re.Match[str]) -> str:
        if not names.hides_in_text(match["name"]):
            return match[0]
        return match[1] + _hidden(match["value"])

    if "'" in text or '"' in text:
        text = _named(text, names)
        text = _COUPLE.sub(shown, text)
        if "-" in text:
            text = _OPTIONS.sub(shown, text)
    if "--" in text:
        text = _OPTION.sub(shown, text)
    return _TAG.sub(shown, text) if "</" in text else text


def _named(text: str, names: Names) -> str:
    """Without the values behind `"name":`; what lies within the value of a harmless name is looked at as well."""
    parts: list[str] = []
    done = 0
    for match in _FIELD.finditer(text):
        if match.start() < done or not names.hides_in_text(match["name"]):
            continue
        value = _FIELDED.match(text, match.end())
        if value is not None:
            parts += (text[done : match.end()], _hidden(value[0]))
            done = value.end()
    return "".join([*parts, text[done:]]) if parts else text


def _hidden(value: str) -> str:
    quote = value[-1] if value[-1] in "'\"" else ""
    return f"{quote}{REDACTED}{quote}"


def schemes(text: str) -> str:
    """Without the credentials behind `Bearer`, `Basic`, `Digest` and `Negotiate`."""
    if not any(scheme in text for scheme in _SCHEMES):
        return text
    return _SCHEME.sub(lambda match: match[1] + REDACTED if _NO_WORD(match[2]) else match[0], text)


def web_tokens(text: str) -> str:
    """Without JSON web tokens, whatever stands before them."""
    return _JWT.sub(REDACTED, text) if "eyJ" in text else text
