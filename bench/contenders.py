"""Everybody who can take part, by name."""

from importlib.util import find_spec

from . import (
    encoding,
    exporting,
    inbound,
    inbound_parts,
    keyed,
    layered,
    logging_lines,
    loopback,
    outbound,
    peers_outbound,
)
from .work import Contender

__all__ = ["find", "missing"]

_PARTS = (
    inbound,
    inbound_parts,
    layered,
    keyed,
    outbound,
    loopback,
    peers_outbound,
    encoding,
    exporting,
    logging_lines,
)
_BY_NAME: dict[str, Contender] = {contender.name: contender for part in _PARTS for contender in part.CONTENDERS}


def find(name: str) -> Contender:
    """The contender of that name; KeyError where there is none."""
    return _BY_NAME[name]


def missing(name: str) -> list[str]:
    """The modules that the contender of that name needs and that are not installed."""
    contender = _BY_NAME.get(name)  # the lag's variants are none
    return [module for module in contender.needs if find_spec(module) is None] if contender else []
