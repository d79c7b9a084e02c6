"""The fastest event loop that is installed: what measures must cost less than what it measures."""

from collections.abc import Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

__all__ = ["run"]

R = TypeVar("R")


def run(main: Coroutine[Any, Any, R]) -> R:
    """As `asyncio.run`, on uvloop where that is there."""
    result: R = import_module("uvloop" if find_spec("uvloop") else "asyncio").run(main)
    return result
