"""The service's own package, which has nothing to do with handrail.resilience."""

from resilience.retry import attempts

__all__ = ["OWNER", "attempts"]

OWNER = "service"
