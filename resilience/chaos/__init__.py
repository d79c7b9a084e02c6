"""Faults that are asked for: what goes wrong, where and when; drawn from a seed, so that a run repeats."""
