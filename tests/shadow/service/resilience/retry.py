"""A module of the service under a name that handrail.resilience has as well."""


def attempts() -> int:
    return 1
