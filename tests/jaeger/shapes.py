"""One request of each kind to the services of `tests.volume`, with the real Jaeger as their collector."""

from dataclasses import dataclass
from pathlib import Path

import httpx
from websockets.sync.client import connect

from tests.deploy.jaeger_server import JaegerServer
from tests.volume.trial import fleet

__all__ = ["Shapes", "play"]


@dataclass(frozen=True, slots=True)
class Shapes:
    """The trace ids of one request of each kind."""

    jaeger: JaegerServer
    order: str
    stream: str
    live: str
    late: str
    held: str


def play(jaeger: JaegerServer, folder: Path) -> Shapes:
    """The services have ended when this returns: what they had to say is on its way to be stored."""
    settings = {"HANDRAIL_TOTAL_TIMEOUT": "1", "HANDRAIL_ATTEMPT_TIMEOUT": "1"}
    with fleet(folder, jaeger.otlp_http, settings) as (ports, _):
        front = f"http://127.0.0.1:{ports['front']}"
        with httpx.Client(base_url=front, timeout=90, trust_env=False) as client:
            order = client.get("/orders/1").raise_for_status().json()["trace_id"]
            stream = client.get("/stream/1").raise_for_status().headers["x-trace-id"]
            late = client.get("/late/1")
            held = client.get("/held/1").raise_for_status().json()["trace_id"]
        assert late.status_code == 504
        with connect(f"{front.replace('http', 'ws')}/live/1", proxy=None) as socket:
            live = ""
            for _ in range(2):
                socket.send("next")
                live = str(socket.recv())
    return Shapes(jaeger, order, stream, live, late.json()["trace_id"], held)
