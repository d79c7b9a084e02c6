"""One finding of `handrail doctor`, and the list of all that there are."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, where, and how to mend it. An id keeps its meaning for ever.

    HR001 error    a setting cannot be used
    HR002 warning  settings stand in two files, one of them does nothing
    HR003 warning  handrail is switched off
    HR004 warning  pyproject.toml cannot be read
    HR005 error    the application cannot be imported
    HR006 info     the application does not switch handrail on by itself
    HR010 error    the collector does not take spans
    HR011 error    the local store cannot be written
    HR012 warning  tracing is switched off
    HR013 info     no collector is set, spans go to the local store
    HR014 warning  the disk holds less than the bound of the local store
    HR015 warning  a process that runs here, or ended within the last hour, has lost spans
    HR020 warning  another tracer is active in processes started here
    HR021 info     another tracer or instrumentation is installed
    HR022 warning  several OpenTelemetry distributions compete
    HR023 info     the service's code imports a retry library: its retries multiply with ours
    HR030 error    a file of the service hides a module that handrail needs
    HR031 warning  a file of the service hides a module of the standard library
    HR040 error    a library is missing or outside the versions that handrail works with
    HR041 warning  no HTTP client is installed that handrail protects
    HR042 warning  the service's code imports an HTTP client that handrail does not protect
    HR043 warning  a process that runs here, or ended within the last hour, connects past all policies
    HR044 info     the same, at the port of a database, a cache, a queue or the like
    HR050 warning  the store of shared_state cannot be reached
    HR051 error    shared_state cannot be used: a library is missing, or the URL is wrong
    HR052 warning  the store of idempotency_store cannot be used at present
    HR053 error    idempotency_store cannot be used: a library is missing, or the URL is wrong
    HR060 warning  chaos is on: faults are injected on purpose
    HR061 info     chaos_faults or chaos_secret is set and does nothing, for chaos is off
    """

    id: str
    severity: Severity
    what: str
    where: str
    mend: str
