"""Attributes that need neither the checks nor the limits of the SDK, as most do not."""

import sys
from collections.abc import Mapping
from types import MappingProxyType

from opentelemetry.util.types import AnyValue, Attributes

__all__ = ["PLAIN", "copied", "fits"]

PLAIN = frozenset((str, int, bool, float, bytes, type(None)))
"""Values of exactly these types are stored as they are; all others go the way of the SDK."""


def copied(attributes: Attributes) -> Attributes:
    """The caller's attributes as our own, clean: what he changes later is not ours. Others stay as they are."""
    if type(attributes) is dict:
        return attributes.copy() if fits(attributes, sys.maxsize) else MappingProxyType(attributes)
    if type(attributes) is MappingProxyType and fits(mine := dict(attributes), sys.maxsize):
        return mine
    return attributes


def fits(attributes: Mapping[str, AnyValue], room: int) -> bool:
    """Whether `attributes` need neither the checks nor the limits of the SDK."""
    if type(attributes) is not dict or len(attributes) > room:
        return False
    for key, value in attributes.items():  # noqa: SIM110  (a generator costs more than the whole loop)
        if type(value) not in PLAIN or type(key) is not str or not key:
            return False
    return True
