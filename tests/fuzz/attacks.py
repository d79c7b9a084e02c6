"""Requests as bytes, most of them wrong in some way: what a client does on one connection.

Each attack is made from a random generator alone, so that the same one can be made for two paths. A step is bytes to
send, a pause in seconds, or a word: `half` (no more will come, the answer is read), `close`, `reset`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ATTACKS", "Attack", "Step", "attack"]

Step = bytes | float | str


@dataclass(frozen=True, slots=True)
class Attack:
    """`key` is the key that it has used, if any; `strict`: nothing in it is a reason to answer in place of the app."""

    name: str
    steps: tuple[Step, ...]
    key: str | None = None
    strict: bool = False


Made = tuple[list[Step], str | None, bool]
Maker = Callable[[random.Random, str], Made]
TRACE = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"


def _head(method: str, path: str, *lines: bytes, version: bytes = b"HTTP/1.1", close: bool = True) -> bytes:
    last = b"connection: close\r\n" if close else b""
    fields = b"".join(line if line.endswith(b"\n") else line + b"\r\n" for line in lines)
    return b"%b %b %b\r\nhost: test\r\n%b%b\r\n" % (method.encode(), path.encode(), version, fields, last)


def _key(rng: random.Random) -> str:
    return f"{rng.getrandbits(64):016x}"


def _keyed(key: str) -> bytes:
    return b'idempotency-key: "%b"' % key.encode()


def _length(size: int) -> bytes:
    return b"content-length: %d" % size


def _good(rng: random.Random, under: str) -> Made:
    """Nothing wrong."""
    kind = rng.randrange(5)
    if kind == 0:
        return [_head("GET", under + rng.choice(["/echo", "/stream", "/slow", "/big"]), TRACE)], None, True
    if kind == 1:
        return [_head("POST", under + "/echo", _length(3)) + b"abc"], None, True
    key = _key(rng)
    body = b"x" * rng.choice([0, 1, 5000])
    if kind == 2:
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        head = _head("POST", under + "/slow", _keyed(key), b"transfer-encoding: chunked")
        return [head + chunked], key, True
    return [_head("POST", under + "/echo", _keyed(key), _length(len(body))) + body], key, True


def _twice(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    line = rng.choice([
        _keyed(key) + b"\r\n" + _keyed(key),
        _keyed(key) + b"\r\n" + _keyed(key + "0"),
        _keyed(key) + b"\r\n" + _length(3),
        _keyed(key) + b"\r\n" + _length(4),
        _keyed(key) + b"\r\n" + TRACE + TRACE.replace(b"-01", b"-00"),
        _keyed(key) + b"\r\nhost: other",
        _keyed(key) + b"\r\ntransfer-encoding: chunked",
        _keyed(key) + b"\r\ncontent-type: a\r\ncontent-type: b",
    ])  # fmt: skip
    end: list[Step] = ["half"] if b"chunked" in line else []  # or the server waits for chunks
    return [_head("POST", under + "/echo", line, _length(3)) + b"abc", *end], key, False


def _chunks(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    head = _head("POST", under + "/echo", _keyed(key), b"transfer-encoding: chunked")
    body = rng.choice([
        b"3\r\nabc\r\n", b"3\r\nab", b"g\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"3\r\nabcdef\r\n0\r\n\r\n",
        b"3;a=b\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n", b"0\r\n", b"3\nabc\n0\n\n", b"", b"3\r\nabc\r\n" * 500,
    ])  # fmt: skip
    return [head, 0.01, body, rng.choice(["half", "close", "reset"])], key, False


def _cut(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    path = under + rng.choice(["/echo", "/lazy", "/slow", "/raise"])
    return [_head("POST", path, _keyed(key), _length(100)) + b"x" * rng.choice([0, 50, 99]),
            0.01, rng.choice(["half", "close", "reset"])], key, False  # fmt: skip


def _slow(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    pieces: list[Step] = [_head("POST", under + "/echo", _keyed(key), _length(5))]
    for _ in range(5):
        pieces += [0.01, b"x"]
    return pieces, key, True


def _huge(rng: random.Random, under: str) -> Made:
    lines = rng.choice([
        [b"x-large: " + b"v" * 70_000], [b"x-%d: v" % number for number in range(150)],
        [b"tracestate: " + b",".join(b"k%d=v" % number for number in range(2000))],
        [b"baggage: " + b"a=1," * 4000], [b"cookie: " + b"a=1; " * 3000], [b"idempotency-key: " + b"k" * 5000],
    ])  # fmt: skip
    return [_head("POST", under + "/echo", *lines, _length(0))], None, False


def _pipelined(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    one = _head("POST", under + "/slow", _keyed(key), _length(3), close=False) + b"abc"
    two = _head("GET", under + "/echo", close=False)
    three = _head("POST", under + "/echo", _length(3), close=False) + b"abc"
    middle = [rng.choice([one, two, three]) for _ in range(rng.randrange(5))]
    return [b"".join([one, *middle, _head("GET", under + "/echo")])], key, False


def _old(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    more = rng.choice([b"connection: keep-alive", b"x-a: b", TRACE])
    end: list[Step] = rng.choice([[], ["half"]])
    head = _head("POST", under + rng.choice(["/echo", "/stream", "/lazy"]), _keyed(key), more, _length(3),
                 version=b"HTTP/1.0", close=False)  # fmt: skip
    return [head + b"abc", 0.05, *end, "half"], key, False


def _upgrade(rng: random.Random, under: str) -> Made:
    settings = b"http2-settings: AAMAAABkAAQAoAAAAAIAAAAA"
    ways: list[list[Step]] = [
        [_head("GET", under + "/echo", b"upgrade: h2c", b"connection: upgrade, http2-settings", settings, close=False)],
        [_head("POST", under + "/echo", b"upgrade: h2c", settings, _keyed(_key(rng)), _length(3)) + b"abc"],
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"],
        [_head("GET", under + "/ws", b"upgrade: websocket", b"connection: upgrade", b"sec-websocket-version: 13",
               b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", close=False), 0.02, b"\x81\x85\0\0\0\0hello"],
        [_head("GET", under + "/ws", b"upgrade: websocket", b"connection: upgrade", b"sec-websocket-version: 99",
               b"sec-websocket-key: x", close=False)],
        [_head("GET", under + "/ws", b"upgrade: websocket", b"connection: upgrade", b"sec-websocket-version: 13",
               b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", close=False), 0.02, b"\xff" * 30],
    ]  # fmt: skip
    return [*rng.choice(ways), 0.02, rng.choice(["close", "reset"])], None, False


def _garbage(rng: random.Random, under: str) -> Made:
    return [rng.randbytes(rng.randrange(1, 400)), 0.01, rng.choice(["half", "close", "reset"])], None, False


def _mutated(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    whole = bytearray(_head("POST", under + "/echo", _keyed(key), TRACE, b"x-request-deadline: 5", _length(3)) + b"abc")
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(under) + 10, len(whole))
        match rng.randrange(3):
            case 0:
                whole[at] = rng.randrange(256)
            case 1:
                del whole[at : at + rng.randrange(1, 8)]
            case _:
                whole[at:at] = rng.choice([b"\r\n", b"\n", b"\0", b"\xff", b" ", b"\t", b":", b"x" * 300])
    return [bytes(whole), "half"], key, False


def _expect(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    head = _head("POST", under + rng.choice(["/echo", "/lazy"]), _keyed(key), b"expect: 100-continue", _length(3))
    ends: list[list[Step]] = [[b"abc"], ["close"], ["reset"], [b"a", "half"]]
    return [head, 0.02, *rng.choice(ends)], key, False


def _targets(rng: random.Random, under: str) -> Made:
    target = under + rng.choice(
        ["/%00", "/%ff%fe", "/a?%ff=%", "//", "/\xe9", "/..;/x", "/echo?" + "q" * 3000, "/%2e%2e"]
    )
    method = rng.choice(["GET", "HEAD", "OPTIONS", "TRACE", "BREW", "get", "PUT", "DELETE"])
    head = _head(method, "@", TRACE).replace(b"@", target.encode("latin-1"), 1)
    return [head], None, True


def _times(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    said = rng.choice([b"x-envoy-expected-rq-timeout-ms: ", b"x-request-deadline: ", b"grpc-timeout: "])
    value = rng.choice([b"0", b"-1", b"1", b"1m", b"20", b"nan", b"9" * 300, b"\xff", b"", b"1,2,3"])
    path = under + rng.choice(["/slow", "/stream", "/echo"])
    return [_head("POST", path, _keyed(key), said + value, _length(3)) + b"abc"], key, False


def _left(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    path = under + rng.choice(["/slow", "/stream", "/big", "/echo"])
    head = _head(rng.choice(["GET", "POST"]), path, _keyed(key), _length(3), close=rng.random() < 0.5) + b"abc"
    return [head, rng.choice([0.0, 0.01, 0.03]), rng.choice(["close", "reset"])], key, False


def _raised(rng: random.Random, under: str) -> Made:
    key = _key(rng)
    lines = [_keyed(key)] if rng.random() < 0.5 else []
    return [_head("POST", under + "/raise", *lines, b"accept: " + rng.choice([b"*/*", b"text/html", b"\xff;q=x"]),
                  _length(3)) + b"abc"], key if lines else None, False  # fmt: skip


def _lines(rng: random.Random, under: str) -> Made:
    bad = rng.choice(
        [b"a b: c", b" folded: 1\r\n  more", b"x-a : b", b"x\0: b", b": b", b"x-a", b"x-a: \0", b"x-a: b\rc"]
    )
    return [_head("POST", under + "/echo", bad, _length(3)) + b"abc", "half"], None, False


ATTACKS: dict[str, Maker] = {
    "good": _good, "twice": _twice, "chunks": _chunks, "cut": _cut, "slow": _slow, "huge": _huge,
    "pipelined": _pipelined, "old": _old, "upgrade": _upgrade, "garbage": _garbage, "mutated": _mutated,
    "expect": _expect, "targets": _targets, "times": _times, "left": _left, "raised": _raised, "lines": _lines,
}  # fmt: skip


def attack(name: str, seed: int, under: str = "") -> Attack:
    """The attack of that name and seed, on paths `under`."""
    steps, key, strict = ATTACKS[name](random.Random(seed), under)
    return Attack(f"{name} {seed}", tuple(steps), key, strict)
