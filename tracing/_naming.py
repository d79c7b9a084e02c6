"""How a class is named in telemetry."""

__all__ = ["qualified_name"]


def qualified_name(cls: type) -> str:
    """As error.type and exception.type have it: with its module, unless that is builtins."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
