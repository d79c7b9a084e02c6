"""Ratios against named peers, in instructions and in time, in one run: `python -m bench`.

`rows.py` is the table of what is compared; `contenders.py` finds who takes part.
"""
