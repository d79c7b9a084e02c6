"""Everybody who can take part, by name."""

from . import encoding, exporting, inbound, layered, logging_lines, outbound
from .work import Contender

__all__ = ["find"]

_PARTS = (inbound, layered, outbound, encoding, exporting, logging_lines)
_BY_NAME: dict[str, Contender] = {contender.name: contender for part in _PARTS for contender in part.CONTENDERS}


def find(name: str) -> Contender:
    """The contender of that name; KeyError where there is none."""
    return _BY_NAME[name]
