"""What happened, told to Jaeger: spans of requests in and out, and where they go.

`provider` builds or finds the tracer, `inbound` makes SERVER spans, `outbound` CLIENT spans, `propagation` reads and
writes the W3C headers, `semconv` holds every name, `settings` reads OTEL_*, `testing` keeps spans in memory.
Nothing is imported here: a service pays only for what it uses.
"""

if __name__ == "tracing":
    raise ImportError("this folder is handrail.tracing: import it by that name")
