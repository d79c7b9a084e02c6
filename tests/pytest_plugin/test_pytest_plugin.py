"""The fixture as the tests of a service meet it: each case is a pytest run of its own, in its own process."""

from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

SHOP = """
import threading
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route

tracer = trace.get_tracer("shop")

async def order(request):
    with tracer.start_as_current_span("look up"):
        return PlainTextResponse("ok")

async def broken(request):
    raise LookupError("no such order")

async def later(request):
    def work():
        with tracer.start_as_current_span("in a thread"):
            pass
    timer = threading.Timer(0.05, work)
    timer.start()
    return PlainTextResponse("ok")

routes = [Route("/orders/{id}", order), Route("/broken", broken), Route("/later", later)]
"""
PROTECTED = SHOP + "\nfrom handrail import protect\napp = protect(Starlette(routes=routes), metrics=False)\n"

OWN_PROVIDER = (
    """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

class Network(SpanExporter):
    sent = []
    def export(self, spans):
        self.sent.extend(spans)

def set_up():
    provider = TracerProvider()
    trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(Network()))
"""
    + PROTECTED
)

PASSES = """
from starlette.testclient import TestClient
import shop

TREE = '''
    SERVER GET /orders/{id}
      INTERNAL look up
'''

def test_one(handrail_spans):
    assert TestClient(shop.app).get("/orders/1").text == "ok"
    handrail_spans.assert_tree(TREE)
    assert handrail_spans.one("look up").attributes == {}

def test_isolated(handrail_spans):
    assert handrail_spans.finished == ()
    TestClient(shop.app).get("/orders/2")
    handrail_spans.assert_tree(TREE)
    assert len(handrail_spans.named("GET /orders/{id}")) == 1
"""


@pytest.fixture
def service(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of a service; the plugin is loaded by name there, whether it is installed or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    monkeypatch.setenv("HANDRAIL_TRACES_DIR", str(pytester.path / "store"))
    return pytester


def passes(service: pytest.Pytester, *arguments: str, count: int) -> None:
    """The run has `count` tests, all pass, without a warning, and no store was written."""
    found = service.runpytest_subprocess("-p", "handrail.pytest_plugin", "-W", "error", *arguments)
    found.assert_outcomes(passed=count)
    assert not list(service.path.glob("store/*"))


def test_a_protected_app_and_isolation(service: pytest.Pytester):
    """A3 (quay#5820): spans of an app protected at import, each test its own, without anybody's private globals."""
    service.makepyfile(shop=PROTECTED, test_shop=PASSES)
    passes(service, count=2)


def test_an_app_without_handrail(service: pytest.Pytester):
    """The fixture collects whatever spans a service makes; handrail need not be switched on."""
    service.makepyfile(
        shop=SHOP + "\napp = Starlette(routes=routes)\n",
        test_shop="""
        from starlette.testclient import TestClient
        import shop
        def test_it(handrail_spans):
            TestClient(shop.app).get("/orders/1")
            handrail_spans.assert_tree("INTERNAL look up")
        """,
    )
    passes(service, count=1)


@pytest.mark.parametrize("when", ["at import", "in the test", "between tests"])
def test_a_service_with_a_provider_of_its_own(when: str, service: pytest.Pytester):
    """A3 (honcho#969): a service that sets its own provider, whenever, is seen too, and its exporter sends nothing."""
    service.makepyfile(shop=OWN_PROVIDER + ("\nset_up()\n" if when == "at import" else ""))
    before = "    shop.set_up()\n" if when == "in the test" else ""
    between = "\ndef test_plain():\n    shop.set_up()\n" if when == "between tests" else ""
    one, two = PASSES.split("def test_isolated")
    one = one.replace("(handrail_spans):\n", f"(handrail_spans):\n{before}")
    nothing_left = "def test_nothing_left():\n    assert shop.Network.sent == []\n"
    service.makepyfile(test_shop=f"{one}{between}\ndef test_isolated{two}\n{nothing_left}")
    passes(service, count=3 + bool(between))


def test_its_own_exporter_works_again_afterwards(service: pytest.Pytester):
    """After a test with the fixture, the service's provider exports as before, to what was added meanwhile too."""
    service.makepyfile(
        shop=OWN_PROVIDER + "\nset_up()\n",
        test_shop="""
        from starlette.testclient import TestClient
        from opentelemetry import trace
        import shop
        def test_with(handrail_spans):
            trace.get_tracer_provider().add_span_processor(shop.SimpleSpanProcessor(shop.Network()))
            TestClient(shop.app).get("/orders/1")
            assert len(handrail_spans.finished) == 2
        def test_without():
            TestClient(shop.app).get("/orders/1")
            assert len(shop.Network.sent) == 4
        """,
    )
    passes(service, count=2)


def test_async_tests_and_asgi_transport(service: pytest.Pytester):
    """Within `async def`: httpx through ASGITransport, and waiting without holding the loop."""
    service.makepyfile(
        shop=PROTECTED,
        test_shop="""
        import asyncio, httpx, shop
        def test_it(handrail_spans):
            async def main():
                transport = httpx.ASGITransport(app=shop.app)
                async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                    await client.get("/orders/1")
                await handrail_spans.arrived(2)
            asyncio.run(main())
            assert handrail_spans.one("look up").parent.span_id == handrail_spans.one(
                "GET /orders/{id}").context.span_id
        """,
    )
    passes(service, count=1)


def test_waiting_for_a_thread(service: pytest.Pytester):
    """wait_for waits for spans that end in a thread, and says what it saw when they do not come."""
    service.makepyfile(
        shop=PROTECTED,
        test_shop="""
        import pytest, shop
        from starlette.testclient import TestClient
        def test_it(handrail_spans):
            TestClient(shop.app).get("/later")
            assert {span.name for span in handrail_spans.wait_for(2)} == {"GET /later", "in a thread"}
            with pytest.raises(AssertionError, match=r"expected 9 spans within 0.01 s, found 2:\\nSERVER GET /later"):
                handrail_spans.wait_for(9, timeout=0.01)
        """,
    )
    passes(service, count=1)


def test_what_a_failure_shows(service: pytest.Pytester):
    """A wrong tree shows both trees; a test that fails for another reason shows the waterfall too."""
    service.makepyfile(
        shop=PROTECTED,
        test_shop="""
        from starlette.testclient import TestClient
        import shop
        def test_tree(handrail_spans):
            TestClient(shop.app).get("/orders/1")
            handrail_spans.assert_tree("SERVER GET /orders/1")
        def test_other(handrail_spans):
            TestClient(shop.app, raise_server_exceptions=False).get("/broken")
            assert 1 == 2
        """,
    )
    found = service.runpytest_subprocess("-p", "handrail.pytest_plugin")
    found.assert_outcomes(failed=2)
    found.stdout.fnmatch_lines(
        [
            "*SERVER GET /orders/1",
            "*found",
            "*SERVER GET /orders/{id}",
            "*  INTERNAL look up",
            "*in time",
            "*SERVER GET /orders/{id} *0.00 + * ms |=*",
            "*assert 1 == 2",
            "*Captured handrail spans teardown*",
            "SERVER GET /broken ERROR *0.00 + * ms |=*",
            "  - exception",
        ]
    )


def test_under_xdist(service: pytest.Pytester):
    """Workers of pytest-xdist each collect their own."""
    service.makepyfile(shop=PROTECTED, test_shop=PASSES, test_again=PASSES)
    passes(service, "-p", "xdist", "-n", "2", count=4)


def installed(folder: Path) -> None:
    """The plugin as an installed distribution has it, found by pytest itself."""
    metadata = folder / "handrail_here-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: handrail-here\nVersion: 1\n", "utf-8")
    (metadata / "entry_points.txt").write_text("[pytest11]\nhandrail = handrail.pytest_plugin\n", "utf-8")


def test_installed_it_costs_nothing_and_can_be_left_out(service: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Found by its entry point it imports neither OpenTelemetry nor our halves; `-p no:handrail` takes it out."""
    installed(service.path)
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    service.makepyfile(
        """
        import sys
        def test_nothing_is_imported(pytestconfig):
            assert pytestconfig.pluginmanager.get_plugin("handrail") is not None
            heavy = {"opentelemetry", "handrail._wire", "handrail.tracing", "handrail.resilience"}
            assert not heavy & set(sys.modules)
        """
    )
    service.runpytest_subprocess().assert_outcomes(passed=1)
    service.makepyfile("def test_none(handrail_spans): pass")
    left_out = service.runpytest_subprocess("-p", "no:handrail")
    left_out.assert_outcomes(errors=1)
    left_out.stdout.fnmatch_lines(["*fixture 'handrail_spans' not found*"])


def test_the_entry_point_is_declared():
    """pyproject.toml gives pytest the plugin under the name `handrail`."""
    import tomllib

    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"handrail": "handrail.pytest_plugin"}
