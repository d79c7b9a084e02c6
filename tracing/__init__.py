"""Placeholder, filled below."""

if __name__ == "tracing":
    raise ImportError("this folder is handrail.tracing: import it by that name")
