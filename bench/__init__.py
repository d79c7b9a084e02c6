"""Ratios against named peers, in one interleaved run: `python -m bench`."""
