"""A collector that takes everything: `python -m bench.sink` says its port, and at the end of its input what came.

The messages are decoded only then, on nobody's time.
"""

import asyncio
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["spans_in"]


def spans_in(message: bytes) -> int:
    """How many spans an OTLP request holds."""
    request = ExportTraceServiceRequest.FromString(message)
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


async def _main() -> None:
    messages: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                messages.append(await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print(sum(map(spans_in, messages)), flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
