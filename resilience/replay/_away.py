"""What is raised inside handrail while a store cannot be asked."""

__all__ = ["StoreAway"]


class StoreAway(Exception):
    """The store cannot say anything of the key: no answer, or nobody to ask. `str()` is the reason, on one line.

    Never leaves handrail, and so is no HandrailError: whoever asks answers 503, or goes on unguarded. A Begin that
    ended so has begun nothing that stays: what the store may have noted all the same is freed.
    """

    @property
    def reason(self) -> str:
        """Why, on one line and without passwords."""
        return str(self)
