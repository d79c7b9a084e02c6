"""The bench as somebody runs it, small."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench import instructions, lag
from bench.load import requests, routed_app
from bench.produced import produced
from handrail.resilience.testing import run

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = dict(os.environ) | ({"PATH": path} if path is not None else {})
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=200
    )


def test_one_row_runs_alone_and_gives_its_figures_as_json():
    """`--row` measures its two contenders and their base, and nobody else."""
    done = bench("--row", "span", "--quick", "--time", "--json", "-")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["contenders"]) == {"bare", "contrib", "ours"}
    assert 0 < told["rows"][0]["time"]["middle"] < 1


def test_without_valgrind_the_columns_say_so(tmp_path):
    """A machine that cannot count instructions still measures time."""
    done = bench("--row", "span", "--quick", path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "no valgrind" in done.stdout


def test_instructions_repeat():
    """The same counted twice differs by less than a target could hang on; without valgrind nothing is counted."""
    if not instructions.available():
        assert shutil.which("valgrind") is None
        return
    first, second = (instructions.count(["plain-ours"], points=2)["plain-ours"].each for _ in range(2))
    assert abs(first / second - 1) < 0.03  # a busy machine lets the loop turn once more, now and then


def test_contenders_tell_the_same_of_a_request():
    """Ours has at least what the peers put on the span, but the port of the client, which has its own name."""
    ours = produced("ours")
    assert (ours.spans, ours.kind, ours.name) == (1, "SERVER", "GET /items/{id}")
    for peer in ("contrib", "contrib+route", "starlette"):
        theirs = produced(peer)
        assert (theirs.spans, theirs.kind) == (1, "SERVER")
        assert set(theirs.attributes) - {"client.port"} <= set(ours.attributes)


def test_exactly_one_in_ten_is_sampled_for_everybody():
    """Sampled spans are what costs: a run with more of them would not compare."""
    assert [produced(name).spans for name in ("tenth-contrib", "tenth-starlette", "tenth-ours")] == [0.1] * 3


def test_no_two_requests_are_alike():
    """Nobody's cache answers for the work: trace, path, query and port differ."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["path"], scope["query_string"], scope["client"], dict(scope["headers"])[b"traceparent"]))

    async def main():
        one = requests(app)
        for _ in range(300):
            await one()

    run(main())
    assert all(len(set(column)) == 300 for column in zip(*seen, strict=True))


def test_the_application_answers():
    """What is measured is a request that goes well."""
    sent = []

    async def main():
        async def app(scope, receive, send):
            async def hear(message):
                sent.append(message)

            await routed_app()(scope, receive, hear)

        await requests(app)()

    run(main())
    assert [message.get("status") for message in sent] == [200, None]
    assert sent[1]["body"] == b'{"id":"0"}'


def test_a_span_that_somebody_reads_is_compared_as_well():
    """What a span puts off until a processor asks for it is in a row of its own."""
    assert [produced(name).spans for name in ("read-contrib", "read-ours")] == [1, 1]


def test_both_encoders_give_the_same_message():
    """An encoder that leaves something out would be cheaper."""
    for name in ("encode-stock", "encode-ours", "encode-ours-own"):
        assert str(produced(name)).endswith("the stock encoder's message, byte for byte")
        assert "NOT" not in str(produced(name))


def test_every_span_of_a_lag_run_arrives():
    """An exporter that drops spans under load would be on time; the collector counts."""
    [lags], tries = lag.run(["lag-ours"], rounds=1, seconds=0.2)["lag-ours"], 1
    while lags["arrived"] != lags["made"] and tries < 3:  # too slow for 3,000 a second, a machine drops some, rightly
        [lags], tries = lag.run(["lag-ours"], rounds=1, seconds=0.2)["lag-ours"], tries + 1
    assert lags["arrived"] == lags["made"] > 3000
    assert 0 <= lags["p50"] <= lags["p90"] <= lags["p99"] <= lags["max"]
