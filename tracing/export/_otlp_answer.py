"""What a collector's answer says: a status of 200 alone does not mean that it took the spans.

It may take only some of them (OTLP's "partial success"), a redirect takes none, and what answers with a web page
is no collector.
"""

import json

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

__all__ = ["judged"]


def judged(status: int, kind: str, body: bytes, count: int) -> tuple[int, str]:
    """How many of `count` spans an answer of 200 to 399 says are lost, and why."""
    if status >= 300:
        return count, f"answered {status}, a redirect, which exporters do not follow"
    kind = kind.partition(";")[0].strip().lower()
    if not body:
        return 0, ""
    try:
        if kind == "application/json":
            told = json.loads(body).get("partialSuccess") or {}
            rejected, why = int(told.get("rejectedSpans") or 0), str(told.get("errorMessage") or "")
        elif kind in ("application/x-protobuf", "application/protobuf"):
            partial = ExportTraceServiceResponse.FromString(body).partial_success
            rejected, why = partial.rejected_spans, partial.error_message
        else:
            rejected, why = 0, ""
            if kind == "text/html":
                raise ValueError("a web page")
    except Exception:
        return count, f"answered {status} with something that is not OTLP ({kind}): no collector listens there"
    return max(0, min(count, rejected)), f"refused by the collector: {' '.join(why.split())[:150] or 'no reason given'}"
