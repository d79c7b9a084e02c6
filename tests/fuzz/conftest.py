"""What a failed story prints may hold what UTF-8 cannot say: xdist would end the whole run over it."""

from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
    """Spell lone surrogates out, in all texts of the report."""
    data: dict[str, Any] | None = yield
    return data and {name: _sayable(value) for name, value in data.items()}


def _sayable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_sayable(key): _sayable(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_sayable, value))
    return value
