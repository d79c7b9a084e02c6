"""A service that exports by OTLP/HTTP, its own exporter beside ours: what its collector and its peer were sent."""

import json
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OURS = ("traceparent", "x-envoy-expected-rq-timeout-ms")
seen: dict[str, set[str]] = {}
"""By path, the headers of ours that came."""


class Peer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        seen.setdefault(self.path, set()).update(name for name in OURS if name in self.headers)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 (its name there)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    logging.basicConfig(format="%(levelname)s %(message)s")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    os.environ.update(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_METRICS_EXPORTER="otlp")

    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    import handrail.auto  # noqa: F401  # it takes hold at its import
    from handrail import _wire

    process = _wire.current()
    assert process is not None
    process.tracing()
    process.metrics()
    requests.get(url + "/peer", timeout=10)
    process.flush_now()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url + "/theirs")))
    provider.get_tracer("service").start_span("work").end()
    provider.force_flush()
    print(json.dumps({"seen": {path: sorted(found) for path, found in seen.items()}}))


if __name__ == "__main__":
    main()
