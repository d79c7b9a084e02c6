"""Everybody who can take part, by name."""

from . import encoding, inbound, outbound
from .work import Contender

__all__ = ["find"]

_BY_NAME: dict[str, Contender] = {
    contender.name: contender for part in (inbound, outbound, encoding) for contender in part.CONTENDERS
}


def find(name: str) -> Contender:
    """The contender of that name; KeyError where there is none."""
    return _BY_NAME[name]
