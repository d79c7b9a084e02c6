"""Spans of our own that cannot be told from the SDK's, at a fraction of their cost."""
