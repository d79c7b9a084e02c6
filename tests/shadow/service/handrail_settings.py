"""The service's own module, which has nothing to do with handrail.settings."""

OWNER = "service"
