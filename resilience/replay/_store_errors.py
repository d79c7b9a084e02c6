"""What a store says where it can be reached and still must not be used."""

__all__ = ["StoreChanged", "StoreRefused"]


class StoreChanged(Exception):
    """The server has lost what it held, or is another one: `Backend.open` tells its new identity."""


class StoreRefused(Exception):
    """The server cannot keep answers as it stands; the text says what to do."""
