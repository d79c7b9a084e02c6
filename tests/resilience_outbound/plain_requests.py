"""A plain script that uses requests and urllib3 in every ordinary way, and prints what it saw and what its peer saw.

Run twice, with `handrail.auto` imported first or without; nothing may differ but what handrail tells the peer.
"""

import base64
import io
import json
import os
import re
import socket
import sys
from typing import Any

if "handrail" in sys.argv:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import set_tracer_provider

    import handrail.auto  # noqa: F401

    set_tracer_provider(TracerProvider())

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from tests.resilience_outbound.plain_peer import BIG, Peer, Proxy, ports, seen, serve, told_of


class Signed(AuthBase):
    def __call__(self, request: Any) -> Any:
        request.headers["x-signed"] = "yes"
        return request


def shape(response: Any) -> Any:
    """All that a caller can see and that does not depend on the moment."""
    return {
        "status": response.status_code,
        "reason": response.reason,
        "headers": list(response.headers.items()),
        "content": base64.b64encode(response.content[:200]).decode(),
        "size": len(response.content),
        "cookies": response.cookies.get_dict(),
        "history": [[one.status_code, one.url, len(one.content)] for one in response.history],
        "url": response.url,
        "elapsed": response.elapsed.total_seconds() > 0,
        "encoding": response.encoding,
        "raw": [type(response.raw).__name__, response.raw.status, response.raw.version, response.raw.closed],
        "left": base64.b64encode(response.raw.read() or b"").decode(),
        "slices": [len(part) for part in response.iter_content(7)][:3],
        "vars": sorted(vars(response)),
        "is prepared": response.request.url,
        "sent": [[name, str(value)] for name, value in response.request.headers.items()],
        "repr": repr(response),
        "connection": type(response.connection).__name__,
    }


def told(error: BaseException) -> Any:
    """An error as `except` clauses and people see it."""
    chain = []
    each: BaseException | None = error
    while each is not None:
        chain.append(type(each).__name__)
        each = each.__context__
    request = getattr(error, "request", None)
    return [type(error).__module__, type(error).__name__, clean(str(error)), chain, getattr(request, "url", None)]


def clean(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def parts() -> Any:
    yield b"one"
    yield b"two"


def streamed(session: Any, url: str) -> Any:
    with session.get(url + "/big", stream=True, timeout=5) as response:
        first = response.raw.read(10)
        rest = sum(len(part) for part in response.iter_content(4096))
    lines = list(session.get(url + "/lines", stream=True).iter_lines())
    chunks = list(session.get(url + "/chunked", stream=True).iter_content(None))
    late = session.get(url + "/gzip", stream=True)
    return first.hex(), rest, [line.decode() for line in lines], [c.decode() for c in chunks], late.text[:8]


def hooked(session: Any, url: str) -> Any:
    heard: list[Any] = []

    def hook(response: Any, *args: Any, **options: Any) -> None:
        heard.append([response.status_code, sorted(options), len(response.content)])

    response = session.get(url + "/redirect", hooks={"response": [hook]})
    return heard, shape(response)


def prepared(session: Any, url: str) -> Any:
    request = session.prepare_request(requests.Request("POST", url + "/", data="text", headers={"X-Mine": "1"}))
    before = dict(request.headers)
    responses = [session.send(request) for _ in range(2)]
    return [one.request is request for one in responses], before == dict(request.headers), shape(responses[1])


class Counting(HTTPAdapter):
    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        request.headers["x-counted"] = "1"
        return super().send(request, *args, **options)


def mounted(session: Any, url: str) -> Any:
    session.mount(url + "/only", Counting())
    return shape(session.get(url + "/only-here")), shape(session.get(url + "/"))


def kept_alive(session: Any, url: str) -> Any:
    for _ in range(4):
        session.get(url + "/")
    pool = session.get_adapter(url).poolmanager.connection_from_url(url)
    return pool.num_connections, pool.num_requests


def through_proxy(session: Any, url: str) -> Any:
    proxies = {"http": f"http://user:pw@127.0.0.1:{ports['proxy']}"}
    return shape(session.get(f"http://peer.invalid:{ports['peer']}/x", proxies=proxies))


def own_retries(session: Any, url: str) -> Any:
    retries = urllib3.Retry(2, status_forcelist=[501], backoff_factor=0)
    session.mount("http://", HTTPAdapter(max_retries=retries))
    return shape(session.get(url + "/busy"))


CASES: dict[str, Any] = {
    "plain": lambda s, u: shape(s.get(u + "/")),
    "function": lambda s, u: shape(requests.get(u + "/", params={"q": "a b"})),
    "query alone": lambda s, u: shape(s.get(u + "?a=1#frag")),
    "gzip": lambda s, u: shape(s.get(u + "/gzip")),
    "bad gzip": lambda s, u: s.get(u + "/bad-gzip"),
    "big": lambda s, u: shape(s.get(u + "/big")),
    "chunked": lambda s, u: shape(s.get(u + "/chunked")),
    "head": lambda s, u: shape(s.head(u + "/")),
    "options": lambda s, u: shape(s.options(u + "/")),
    "missing": lambda s, u: shape(s.get(u + "/missing")),
    "raised": lambda s, u: s.get(u + "/missing").raise_for_status(),
    "cookie": lambda s, u: [shape(s.get(u + "/cookie")), shape(s.get(u + "/")), s.cookies.get_dict()],
    "redirect": lambda s, u: shape(s.get(u + "/redirect")),
    "redirect off": lambda s, u: shape(s.get(u + "/redirect", allow_redirects=False)),
    "redirect post": lambda s, u: shape(s.post(u + "/see-other", json={"a": 1})),
    "redirect kept": lambda s, u: shape(s.post(u + "/keep", data=b"body")),
    "redirect file": lambda s, u: shape(s.post(u + "/keep", data=io.BytesIO(b"rewound"))),
    "redirect away": lambda s, u: shape(s.get(u + "/elsewhere", auth=("u", "p"))),
    "redirect broken": lambda s, u: shape(s.get(u + "/broken-redirect")),
    "loop": lambda s, u: s.get(u + "/loop"),
    "basic": lambda s, u: shape(s.get(u + "/", auth=HTTPBasicAuth("user", "secret"))),
    "in url": lambda s, u: shape(s.get(u.replace("//", "//me:pw@") + "/")),
    "signed": lambda s, u: shape(s.get(u + "/", auth=Signed())),
    "digest": lambda s, u: shape(s.get(u + "/digest", auth=HTTPDigestAuth("user", "secret")))["history"],
    "json": lambda s, u: shape(s.post(u + "/", json={"a": [1]})),
    "form": lambda s, u: shape(s.post(u + "/", data={"a": "1"})),
    "multipart": lambda s, u: shape(s.post(u + "/", files={"f": ("n.txt", b"data", "text/plain")}, data={"x": "1"})),
    "large": lambda s, u: shape(s.put(u + "/", data=BIG)),
    "generator": lambda s, u: shape(s.post(u + "/", data=parts())),
    "file": lambda s, u: shape(s.post(u + "/", data=io.BytesIO(b"file" * 1000))),
    "delete": lambda s, u: shape(s.delete(u + "/")),
    "close": lambda s, u: shape(s.get(u + "/close")),
    "half": lambda s, u: s.post(u + "/half"),
    "half chunk": lambda s, u: s.post(u + "/half-chunk"),
    "gone": lambda s, u: s.post(u + "/gone"),
    "nonsense": lambda s, u: s.post(u + "/nonsense"),
    "timed out": lambda s, u: s.post(u + "/hang", timeout=(3, 0.05)),
    "refused": lambda s, u: s.post(f"http://127.0.0.1:{ports['closed']}/"),
    "no name": lambda s, u: s.post("http://nowhere.invalid/"),
    "no schema": lambda s, u: s.get("nowhere"),
    "bad schema": lambda s, u: s.get("gopher://nowhere/"),
    "bad url": lambda s, u: s.get("http:///path"),
    "bad port": lambda s, u: s.get("http://127.0.0.1:port/"),
    "bad header": lambda s, u: s.get(u, headers={"a": "b\r\nc"}),
    "bad timeout": lambda s, u: s.get(u, timeout=(1, 2, 3)),
    "wrong timeout": lambda s, u: s.get(u, timeout="soon"),
    "zero timeout": lambda s, u: s.get(u, timeout=0),
    "urllib3 timeout": lambda s, u: shape(s.get(u, timeout=urllib3.Timeout(connect=2, read=3))),
    "streamed": streamed,
    "hooked": hooked,
    "prepared": prepared,
    "mounted": mounted,
    "kept alive": kept_alive,
    "proxy": through_proxy,
    "own retries": own_retries,
    "tls to http": lambda s, u: s.post(u.replace("http:", "https:") + "/", timeout=2),
}


def seen_of(response: Any) -> Any:
    """The same for a response of urllib3."""
    data = response.data
    return {
        "status": response.status,
        "reason": response.reason,
        "headers": list(response.headers.items()),
        "data": base64.b64encode(data[:200]).decode(),
        "size": len(data),
        "url": response.geturl(),
        "version": response.version,
        "closed": response.closed,
        "history": [[one.method, one.status, one.redirect_location] for one in response.retries.history],
        "vars": sorted(vars(response)),
    }


def pooled_stream(pool: Any, url: str) -> Any:
    response = pool.request("GET", url + "/big", preload_content=False)
    parts = [len(part) for part in response.stream(65536)]
    response.release_conn()
    return len(parts), sum(parts)


def bare_pool(pool: Any, url: str) -> Any:
    with urllib3.HTTPConnectionPool("127.0.0.1", ports["peer"], maxsize=1, block=True) as own:
        answers = [seen_of(own.request("GET", "/redirect")), seen_of(own.urlopen("POST", "/", b"x", {"a": "b"}))]
        return answers, own.num_connections, own.num_requests


def no_retries(pool: Any, url: str) -> Any:
    return seen_of(pool.request("GET", url + "/redirect", retries=False))


POOLED: dict[str, Any] = {
    "get": lambda p, u: seen_of(p.request("GET", u + "/")),
    "fields": lambda p, u: seen_of(p.request("GET", u + "/", fields={"a": "1"})),
    "json": lambda p, u: seen_of(p.request("POST", u + "/", json={"a": 1})),
    "multipart": lambda p, u: seen_of(p.request("POST", u + "/", fields={"f": ("n", "data")})),
    "gzip": lambda p, u: seen_of(p.request("GET", u + "/gzip")),
    "chunked": lambda p, u: seen_of(p.request("POST", u + "/chunked", body=parts(), chunked=True)),
    "redirect": lambda p, u: seen_of(p.request("GET", u + "/redirect")),
    "redirect post": lambda p, u: seen_of(p.request("POST", u + "/see-other", body=b"x")),
    "redirect off": lambda p, u: seen_of(p.request("GET", u + "/redirect", redirect=False)),
    "redirect away": lambda p, u: seen_of(p.request("GET", u + "/elsewhere", headers={"Authorization": "x"})),
    "loop": lambda p, u: p.request("GET", u + "/loop"),
    "one redirect": lambda p, u: p.request("GET", u + "/loop", retries=urllib3.Retry(redirect=1)),
    "missing": lambda p, u: seen_of(p.request("GET", u + "/missing")),
    "half": lambda p, u: p.request("POST", u + "/half"),
    "gone": lambda p, u: p.request("POST", u + "/gone"),
    "bad gzip": lambda p, u: p.request("GET", u + "/bad-gzip"),
    "timed out": lambda p, u: p.request("POST", u + "/hang", timeout=0.05),
    "refused": lambda p, u: p.request("GET", f"http://127.0.0.1:{ports['closed']}/", retries=0),
    "refused at all": lambda p, u: p.request("GET", f"http://127.0.0.1:{ports['closed']}/", retries=False),
    "refused by default": lambda p, u: p.request("GET", f"http://127.0.0.1:{ports['closed']}/"),
    "no name": lambda p, u: p.request("GET", "http://nowhere.invalid/", retries=1),
    "no scheme": lambda p, u: p.request("GET", "gopher://nowhere/"),
    "no retries": no_retries,
    "stream": pooled_stream,
    "pool": bare_pool,
    "proxy": lambda p, u: seen_of(
        urllib3.ProxyManager(f"http://127.0.0.1:{ports['proxy']}").request("GET", f"http://x.invalid:{ports['peer']}/")
    ),
}


def run(case: Any, *given: Any) -> Any:
    seen.clear()
    try:
        value = case(*given)
    except Exception as error:
        value = told(error)
    return [value, list(seen)]


def main() -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    ports.update(peer=serve(Peer), proxy=serve(Proxy), closed=taken.getsockname()[1])
    urllib3.filepost.choose_boundary = lambda: "b" * 32  # they are random else
    url = f"http://127.0.0.1:{ports['peer']}"
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        with requests.Session() as session:
            found[name] = run(case, session, url)
    for name, case in POOLED.items():
        with urllib3.PoolManager() as pool:
            found["urllib3 " + name] = run(case, pool, url)
    found["told"] = "traceparent" in told_of
    text = json.dumps(found, indent=1, default=repr)
    for name, port in ports.items():
        text = re.sub(rf"(?<![0-9A-Za-z]){port}(?![0-9A-Za-z])", name, text)  # not within the size of a body
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
