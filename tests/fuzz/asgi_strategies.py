"""Requests and applications, most of them wrong in some way."""

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.asgi_world import ERRORS, Request, Story

__all__ = ["requests", "stories"]

noise = st.binary(max_size=20).filter(lambda value: b"\r" not in value and b"\n" not in value and b"\0" not in value)
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
VALUES: dict[bytes, list[bytes]] = {
    b"idempotency-key": [
        b'"a"',
        b'"b"',
        b"c",
        b"",
        b'"',
        b'"a", "b"',
        b"\xff",
        b'"' + b"k" * 300 + b'"',
        b'"a";p=1',
        b"a b",
    ],
    b"traceparent": [
        TRACE,
        TRACE[:-3],
        TRACE + b"-x",
        b"ff" + TRACE[2:],
        b"",
        b"00-" + b"0" * 32 + TRACE[35:],
        b"\xff",
    ],
    b"tracestate": [b"a=1", b"a=1,a=2", b",,,", b"=" * 40, b"\xff", b",".join(b"k%d=v" % n for n in range(60))],
    b"baggage": [b"a=1", b"a=%FF", b"%", b"a" * 9000, b"=;,", b"\xff"],
    b"content-length": [b"0", b"3", b"-1", b"x", b"9" * 40, b"1, 1", b"\xb2", b"0x10"],
    b"transfer-encoding": [b"chunked", b"gzip, chunked", b"identity"],
    b"content-type": [b"application/json", b"multipart/form-data; boundary=abcdefgh", b"multipart/", b"\xff"],
    b"x-envoy-expected-rq-timeout-ms": [b"0", b"1", b"500", b"-1", b"nan", b"1e3", b"9" * 30, b"", b"\xb2"],
    b"x-request-deadline": [b"0.5", b"2020-01-01T00:00:00Z", b"9999-12-31T23:59:59Z", b"99999-", b":", b"nan", b"inf"],
    b"grpc-timeout": [b"1m", b"0S", b"99999999H", b"1", b"S", b"\xb2S"],
    b"x-envoy-attempt-count": [b"1", b"3", b"0", b"-1", b"\xb2", b"9" * 30],
    b"host": [b"test", b"", b"[::1", b"a:99999999", b"\xff", b"a:\xb2", b"a b"],
    b"accept": [b"*/*", b"text/html", b"text/html;q=x, */*;q=0", b";;;,,,=", b"text/event-stream"],
    b"cookie": [b"a=1", b";;;", b"=", b"_ga=1; b", b"\xff"],
    b"authorization": [b"Bearer x", b"Bearer a.b.c", b"Bearer e30.e30.", b"Basic \xff", b"", b"Bearer " + b"." * 50],
    b"x-forwarded-for": [b"1.2.3.4", b"unknown, ::1", b"," * 40, b"\xff", b'"[', b"1.2.3.4:\xb2"],
    b"x-forwarded-proto": [b"https", b"\xff", b""],
    b"forwarded": [b'for="[::1]:80";proto=http', b"for=", b'for="', b";;,,==", b"\xff"],
    b"user-agent": [b"fuzz", b"\xff" * 300, b""],
    b"connection": [b"close", b"upgrade, http2-settings"],
    b"upgrade": [b"h2c", b"websocket"],
    b"idempotency-key-store": [b'"0123456789abcdef"', b"other", b"", b"\xff", b'"'],
    b"range": [b"bytes=0-1", b"bytes=-"],
    b"if-none-match": [b'"x"', b"*"],
}
NAMES = sorted(VALUES)

known = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[name]) | noise))
unknown = st.tuples(st.from_regex(rb"\A[a-z][a-z0-9_-]{0,12}\Z"), noise)
headers = st.lists(st.one_of(known, known, known, unknown), max_size=8) | st.integers(90, 130).map(
    lambda number: [(b"x-%d" % n, b"v") for n in range(number)]
)
keyed = st.tuples(st.just(b"idempotency-key"), st.sampled_from([b'"a"', b'"b"', b"c"]))

methods = st.sampled_from(
    ["GET", "POST", "POST", "POST", "PATCH", "HEAD", "OPTIONS", "DELETE", "CONNECT", "get", "BREW", ""]
)
paths = st.sampled_from(
    ["/", "/a", "/a/b", "//", "/\udcff", "/%2e%2e/", "*", "", "/livez", "/readyz", "/metrics", "/a\x00b"]
) | (st.text(max_size=12).map(lambda text: "/" + text))

kinds = st.sampled_from([*["http"] * 12, "websocket", "webtransport"])


@st.composite
def scopes(draw: st.DrawFn) -> dict[str, Any]:
    """HTTP for the most part; servers leave out what the specification calls optional."""
    path = draw(paths)
    found = draw(headers)
    if draw(st.booleans()):
        found = [*found, draw(keyed)]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": draw(st.sampled_from([{"version": "3.0"}, {"version": "3.0", "spec_version": "2.4"}])),
        "http_version": draw(st.sampled_from(["1.0", "1.1", "2", "3", "9"])),
        "method": draw(methods),
        "path": path,
        "query_string": draw(noise | st.sampled_from([b"a=1", b"a=%FF&a", b"token=x", b"=&=&", b"%"])),
        "headers": found,
    }
    optional: dict[str, st.SearchStrategy[Any]] = {
        "scheme": st.sampled_from(["http", "https", ""]),
        "raw_path": st.sampled_from([path.encode("utf-8", "replace"), None, b"\xff"]),
        "root_path": st.sampled_from(["", "/a", "/"]),
        "client": st.sampled_from([None, ("1.2.3.4", 1), ["::1", 2], ("", 0), ("unix", None)]),
        "server": st.sampled_from([None, ("1.2.3.4", 80), ("/tmp/socket", None)]),
        "state": st.just({}),
        "extensions": st.sampled_from([None, {}, {"http.response.trailers": {}, "http.response.pathsend": {}}]),
    }
    for name, values in optional.items():
        if draw(st.integers(0, 4)):
            scope[name] = draw(values)
    scope["type"] = draw(kinds)
    if scope["type"] == "websocket":
        del scope["method"]
        scope["subprotocols"] = []
    return scope


piece = st.builds(
    lambda body, more: {"type": "http.request", **({} if body is None else {"body": body}), **more},
    st.none() | st.binary(max_size=30) | st.just(b"x" * 3000),
    st.sampled_from([{}, {"more_body": True}, {"more_body": True}, {"more_body": False}]),
)
waits = st.sampled_from([0.0, 0.0, 0.01, 0.4, 2.0, 31.0])


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A client may send less than it says, more than it says, or nothing; and leave at any time."""
    scope = draw(scopes())
    pieces = draw(st.lists(piece, max_size=4))
    if scope["type"] == "websocket":
        said = [{"type": "websocket.receive", "bytes": piece.get("body")} for piece in pieces]
        pieces = [{"type": "websocket.connect"}, *said]
    return Request(scope, tuple(pieces), draw(st.none() | st.none() | waits))


answer_headers = st.lists(
    st.sampled_from(
        [
            *((b"content-type", b"text/plain"), (b"content-type", b"text/event-stream"), (b"Content-Type", b"\xff")),
            *((b"set-cookie", b"a=1"), (b"content-length", b"4"), (b"transfer-encoding", b"chunked")),
            *((b"x-\xff", b"\xff"), (b"retry-after", b"x"), (b"", b""), [b"x-list", b"as lists"], (b"trailer", b"x")),
        ]
    ),
    max_size=3,
)
statuses = st.sampled_from([200, 200, 200, 201, 204, 304, 404, 500, 503, 599, 100, 999])
start = st.builds(
    lambda status, headers: {"type": "http.response.start", "status": status, **headers},
    statuses,
    st.sampled_from([{}, {"headers": None}, {"headers": "ab"}, {"trailers": True}])
    | answer_headers.map(lambda h: {"headers": h}),
)
body = st.builds(
    lambda data, more: {"type": "http.response.body", **data, **more},
    st.sampled_from([{}, {"body": b"data"}, {"body": b""}, {"body": b"x" * 5000}, {"body": None}, {"body": "text"}]),
    st.sampled_from([{}, {"more_body": True}, {"more_body": True}, {"more_body": None}]),
)
stray = st.sampled_from(
    [
        *({}, {"type": "websocket.accept"}, {"type": "http.disconnect"}, {"type": ""}, {"type": None}),
        *({"type": "http.response.trailers", "headers": []}, {"type": "http.response.pathsend", "path": "/x"}),
        *({"type": "http.response.push", "path": "/", "headers": []}, {"type": "http.response.debug", "info": {}}),
        *({"type": "http.response.start"}, {"type": "http.response.start", "status": "200"}),
    ]
)
whole = st.tuples(st.just("whole"), statuses, answer_headers, st.sampled_from([0, 4, 70_000]))
step = st.one_of(
    whole,
    whole,
    st.sampled_from([("receive",), ("read",), ("read",), ("return",)]),
    st.tuples(st.just("send"), start),
    st.tuples(st.just("send"), body),
    st.tuples(st.just("send"), stray),
    st.tuples(st.sampled_from(["raise", "raise", "raise chained"]), st.sampled_from(sorted(ERRORS))),
    st.tuples(st.sampled_from(["sleep", "swallow", "shield", "until gone"]), st.sampled_from([0.0, 0.2, 1.0, 90.0])),
    st.tuples(st.just("together"), st.integers(0, 3)),
)
good = st.tuples(st.just(("read",)), whole)
stories = st.builds(
    Story,
    requests(),
    good | st.lists(step, max_size=6).map(tuple),
    st.booleans(),
    st.none() | st.none() | waits,
)
