"""Breakers for single paths, through the client libraries."""

import pytest

from handrail.resilience import errors


def test_a_path_with_a_breaker_of_its_own_leaves_the_others_alone(server, steps, guard, send, library):
    """Two failures of one path open that path; the query is no part of it; the rest of the origin is asked on."""
    guard(attempts=1, breaker_minimum_calls=2, breaker_routes=("/charges/*",))
    server.script(otherwise=steps.answer(503))
    for number in range(2):
        send("GET", f"{server.url}/charges/{number}?page=1")
    with pytest.raises(library.HTTPError) as caught:
        send("GET", f"{server.url}/charges/3")
    assert isinstance(caught.value, errors.CircuitOpen)
    assert caught.value.target == f"{server.url}/charges/*"
    server.script(otherwise=steps.answer(200))
    assert send("GET", f"{server.url}/refunds/1").status_code == 200
