"""A script as people write them, run as a process with and without handrail: what it prints must be the same bytes."""

import asyncio
import io
import re
import sys
import tempfile
import warnings
from typing import Any

import aiohttp
from aiohttp import web

OURS = {"traceparent", "tracestate", "baggage", "x-envoy-expected-rq-timeout-ms", "x-envoy-attempt-count"}
"""What an attempt tells its peer: the one difference that is meant."""

BOUNDARY = re.compile(r"boundary=\w+")

BIG = bytes(range(256)) * 16384

if "handrail" in sys.argv:
    import handrail.auto  # noqa: F401 (this is the whole difference)


async def echo(request: web.Request) -> web.Response:
    """What came, as JSON."""
    body = await request.read()
    told = {
        "method": request.method,
        "path": str(request.rel_url),
        "headers": [(k, v) for k, v in request.headers.items() if k.lower() not in OURS],
        "cookies": dict(request.cookies),
        "length": len(body),
        "sum": sum(body) % 9973,
        "start": body[:40].decode("latin-1"),
    }
    return web.json_response(told, headers={"x-told": "1"})


async def parts(request: web.Request) -> web.Response:
    """The parts of a form."""
    reader: Any = await request.multipart()
    found = []
    async for part in reader:
        data = await part.read()
        found.append([part.name, part.filename, part.headers.get("content-type"), len(data), sum(data) % 9973])
    return web.json_response(found)


async def redirect(request: web.Request) -> web.Response:
    """To /echo by the status that is asked for."""
    return web.Response(status=int(request.match_info["status"]), headers={"location": "/echo?there=1"})


async def loop(_: web.Request) -> web.Response:
    """To itself."""
    return web.Response(status=302, headers={"location": "/loop"})


async def cookie(_: web.Request) -> web.Response:
    """Sets two, one of them for a path."""
    response = web.Response(text="set")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", path="/echo")
    return response


async def stream(request: web.Request) -> web.StreamResponse:
    """A chunked body in ten pieces."""
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(10):
        await response.write(b"line %d\n" % number)
    await response.write_eof()
    return response


async def big(_: web.Request) -> web.Response:
    """Four megabytes, compressed where that is taken."""
    response = web.Response(body=BIG)
    response.enable_compression()
    return response


async def basic(request: web.Request) -> web.Response:
    """401 without credentials."""
    return web.Response(text=request.headers.get("authorization", "none"))


async def slow(_: web.Request) -> web.Response:
    """An answer that nobody waits for."""
    arrived.set()
    await asyncio.Event().wait()
    return web.Response()


async def status(request: web.Request) -> web.Response:
    """The status that is asked for."""
    return web.Response(status=int(request.match_info["status"]), text="as asked")


async def socket(request: web.Request) -> web.WebSocketResponse:
    """Gives back what comes, twice."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    for _ in range(2):
        await ws.send_str(f"again: {(await ws.receive()).data}")
    await ws.close(code=4000, message=b"enough")
    return ws


class Say:
    """Prints without what differs between two runs."""

    port = 0

    def __call__(self, *what: object) -> None:
        port = re.compile(rf"(?<![0-9A-Za-z]){self.port}(?![0-9A-Za-z])")  # not within the size of a body
        print(*(BOUNDARY.sub("boundary", port.sub("PORT", str(one))) for one in what))

    async def response(self, name: str, response: aiohttp.ClientResponse) -> None:
        """All of a response."""
        headers = [(k, v) for k, v in response.headers.items() if k.lower() != "date"]
        self(name, response.status, response.reason, response.version, headers, response.method, response.url)
        self("  ", [(one.status, str(one.url)) for one in response.history], dict(response.cookies), response.ok)
        sent = [(k, v) for k, v in response.request_info.headers.items() if k.lower() not in OURS]
        self("  ", sent, response.real_url)
        body = (await response.read()).replace(b":%d" % self.port, b":PORT")
        self("  ", len(body), sum(body) % 9973, body[:600], response.closed)

    async def failure(self, name: str, doing: Any) -> None:
        """The error that a coroutine ends with."""
        try:
            self(name, "fine", await doing)
        except (Exception, asyncio.CancelledError) as error:
            kind = "TimeoutError" if isinstance(error, TimeoutError) else type(error).__name__
            late = isinstance(error, TimeoutError)
            self(name, kind, "" if late else error, late or isinstance(error, aiohttp.ClientError))


say = Say()
arrived = asyncio.Event()


async def bodies(session: aiohttp.ClientSession, url: str) -> None:
    """Every kind of body that can be sent."""

    async def pieces() -> Any:
        for number in range(5):
            yield b"piece %d " % number

    with tempfile.TemporaryFile() as file:
        file.write(BIG)
        file.seek(0)
        kinds: dict[str, dict[str, Any]] = {
            "bytes": {"data": b"abc"},
            "text": {"data": "äbc"},
            "json": {"json": {"a": [1, 2]}},
            "form": {"data": {"a": "1", "b": "ä"}},
            "io": {"data": io.BytesIO(b"from memory")},
            "file": {"data": file},
            "pieces": {"data": pieces()},
            "chunked": {"data": b"x" * 100_000, "chunked": 1000},
            "compressed": {"data": b"x" * 10_000, "compress": "gzip"},
            "expect": {"data": b"abc", "expect100": True},
            "big": {"data": io.BytesIO(BIG)},
            "empty": {"data": b""},
        }
        for name, options in kinds.items():
            async with session.post(url + "/echo", **options) as response:
                await say.response(name, response)
    form = aiohttp.FormData()
    form.add_field("text", "words")
    form.add_field("file", b"\x00\x01" * 5000, filename="a.bin", content_type="application/x-thing")
    async with session.post(url + "/parts", data=form) as response:
        await say.response("multipart", response)


async def answers(session: aiohttp.ClientSession, url: str) -> None:
    """Every kind of answer."""
    for status_ in (301, 302, 303, 307, 308):
        async with session.post(f"{url}/redirect/{status_}", data=b"abc", headers={"x-mine": "1"}) as response:
            await say.response(f"redirect {status_}", response)
    async with session.get(url + "/redirect/302", allow_redirects=False) as response:
        await say.response("no redirect", response)
    await say.failure("too many", session.get(url + "/loop", max_redirects=4))
    for name in ("big", "cookie", "echo", "status/404", "status/418", "status/204"):
        async with session.get(f"{url}/{name}", params={"q": "1", "r": "ä"}) as response:
            await say.response(name, response)
    say("jar", sorted((one.key, one.value, one["path"]) for one in session.cookie_jar))
    async with session.head(url + "/big") as response:
        await say.response("head", response)
    async with session.get(url + "/stream") as response:
        lines = [line async for line in response.content]
        say("lines", lines, response.content.at_eof(), response.connection)
    async with session.get(url + "/big") as response:
        size = 0
        async for chunk in response.content.iter_chunked(4096):
            size += len(chunk)
        say("size", size)
    async with session.get(url + "/big") as response:
        say("first", await response.content.readexactly(10))  # the rest is left unread
    async with session.get(url + "/status/200") as response:
        await say.failure("json", response.json())
    many = await asyncio.gather(*(session.get(f"{url}/echo?n={n}") for n in range(20)))
    say("many", [(await one.json())["path"] for one in many])
    async with session.ws_connect(url + "/socket", protocols=("a",)) as ws:
        await ws.send_str("one")
        say("socket", await ws.receive(), ws.closed)
        await ws.send_str("two")
        say("socket", await ws.receive(), (await ws.receive()).type, ws.close_code)


async def wishes(url: str) -> None:
    """Credentials, own middlewares, traces, refusals by status, timeouts, and what cannot be."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with (
            aiohttp.ClientSession() as session,
            session.get(url + "/basic", auth=aiohttp.BasicAuth("user", "ä", "utf-8")) as response,
        ):
            await say.response("basic", response)
        say("warned", [(one.category.__name__, one.filename.rpartition("/")[2], one.lineno) for one in caught])

    async def mine(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        request.headers["x-number"] = "1"
        first: aiohttp.ClientResponse = await handler(request)
        first.release()
        request.headers["x-number"] = "2"
        say("middleware", first.status, [k for k in request.headers if k.lower() in OURS])
        found: aiohttp.ClientResponse = await handler(request)
        return found

    async with aiohttp.ClientSession(middlewares=[mine]) as session, session.get(url + "/echo") as response:
        await say.response("twice", response)
    async with aiohttp.ClientSession() as session, session.get(url + "/echo", middlewares=(mine,)) as response:
        await say.response("twice here", response)

    trace = aiohttp.TraceConfig()
    for name in ("request_start", "request_end", "request_redirect", "request_exception", "connection_reuseconn"):

        async def told(_session: Any, _context: Any, params: Any, name: str = name) -> None:
            say("trace", name, getattr(params, "method", ""), getattr(params, "url", ""))

        getattr(trace, "on_" + name).append(told)
    async with aiohttp.ClientSession(trace_configs=[trace], base_url=url, cookies={"mine": "1"}) as session:
        response = await session.get("/redirect/302")
        await say.response("traced", response)
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        await say.failure("raised", session.get(url + "/status/404"))
        await say.failure("not raised", _status(session.get(url + "/status/404", raise_for_status=False)))
    async with aiohttp.ClientSession(proxy=url) as session, session.get("http://elsewhere.test/echo") as response:
        await say.response("proxied", response)
    async with aiohttp.request("GET", url + "/echo") as response:
        await say.response("function", response)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
        await say.failure("total", session.get(url + "/slow"))
    async with aiohttp.ClientSession() as session:
        await say.failure("read", session.post(url + "/slow", timeout=aiohttp.ClientTimeout(sock_read=0.1)))
        await say.failure("url", session.get("http:///nowhere"))
        await say.failure("scheme", session.get("ftp://127.0.0.1/"))
        await say.failure("name", session.get("http://127.0.0.1:1/"))
        await say.failure("both", session.post(url, data=b"a", json={}))
        arrived.clear()
        task = asyncio.ensure_future(session.get(url + "/slow"))
        await arrived.wait()
        task.cancel()
        await say.failure("cancelled", task)
    await say.failure("closed", session.get(url))


async def _status(request: Any) -> int:
    async with request as response:
        found: int = response.status
        return found


async def main() -> None:
    """The server and all the calls."""
    app = web.Application(client_max_size=1 << 30)
    for path, handler in {
        "/echo": echo,
        "/parts": parts,
        "/redirect/{status}": redirect,
        "/loop": loop,
        "/cookie": cookie,
        "/stream": stream,
        "/big": big,
        "/basic": basic,
        "/slow": slow,
        "/status/{status}": status,
        "/socket": socket,
    }.items():
        app.router.add_route("*", path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    say.port = runner.addresses[0][1]
    url = f"http://127.0.0.1:{say.port}"
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, headers={"x-session": "s"}) as session:
        await bodies(session, url)
        await answers(session, url)
    await wishes(url)
    await runner.cleanup()


asyncio.run(main())
