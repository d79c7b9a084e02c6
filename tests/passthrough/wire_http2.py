"""HTTP/2 with prior knowledge, one request at a time, on a blocking socket; all that arrives is an event in order."""

import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.settings

__all__ = ["Http2"]

PATIENCE = 60.0
WINDOW = 16_000_000


class Http2:
    """One connection; requests one after the other."""

    version = "2"

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        self._http = h2.connection.H2Connection(config)
        self._http.initiate_connection()
        self._http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        self._http.increment_flow_control_window(WINDOW)
        self._stream = 0
        self._events: list[h2.events.Event] = []
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave, whatever is under way."""
        self.socket.close()

    def begin(self, method: str, path: str, *, body: bool = False) -> None:
        """Send a head; `body`: data follow by `put`, and `finish`."""
        self._stream = self._http.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "127.0.0.1")]
        self._http.send_headers(self._stream, [*head, ("te", "trailers")], end_stream=not body)
        self._flush()

    def put(self, data: bytes) -> None:
        """Send a piece of the body, as far as the server's window lets it."""
        while data:
            room = min(
                self._http.local_flow_control_window(self._stream), self._http.max_outbound_frame_size, len(data)
            )
            if room > 0:
                self._http.send_data(self._stream, data[:room])
                data = data[room:]
                self._flush()
            else:
                self._read()

    def finish(self) -> None:
        """Send the end of the body."""
        self._http.end_stream(self._stream)
        self._flush()

    def event(self) -> h2.events.Event:
        """The next thing that belongs to the request."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, h2.events.DataReceived):
                    self._http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
                    self._flush()
                if getattr(event, "stream_id", None) == self._stream or hasattr(event, "pushed_stream_id"):
                    return event
            self._read()

    def head(self) -> tuple[int, list[tuple[str, str]]]:
        """Read the next head, of an informational answer too."""
        while True:
            event = self.event()
            if isinstance(event, h2.events.ResponseReceived | h2.events.InformationalResponseReceived):
                pairs = [(str(name), str(value)) for name, value in event.headers]
                return int(dict(pairs)[":status"]), pairs

    def body(self) -> Iterator[bytes]:
        """Read pieces as they come, to the end of the body."""
        while not isinstance(event := self.event(), h2.events.StreamEnded):
            assert not isinstance(event, h2.events.StreamReset), event
            if isinstance(event, h2.events.DataReceived) and event.data:
                yield event.data

    def _read(self) -> None:
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._events += self._http.receive_data(data)
        self._flush()

    def _flush(self) -> None:
        if data := self._http.data_to_send():
            self.socket.sendall(data)
