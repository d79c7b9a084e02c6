"""Placeholder, filled below."""

if __name__ == "resilience":
    raise ImportError("this folder is handrail.resilience: import it by that name")
