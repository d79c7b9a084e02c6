"""Credentials and forms that are written anew for each attempt: the same caller, and the same request."""

import json
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.inbound._idempotency_body import Digest
from handrail.resilience.inbound._idempotency_caller import caller_of
from handrail.resilience.testing import run
from tests.resilience_inbound.idempotency_bench import Got, Service


def jwt(signature: str = "sig", **claims: object) -> bytes:
    """A bearer token; nobody here looks at its signature."""
    parts = (json.dumps(part).encode() for part in ({"alg": "RS256"}, claims))
    return b"Bearer " + b".".join([*(urlsafe_b64encode(part).rstrip(b"=") for part in parts), signature.encode()])


async def post(service: Service, credential: bytes, key: str = "k") -> Got:
    return await service.post(key, b"{}", (b"authorization", credential))


AWS = b"AWS4-HMAC-SHA256 Credential=AKID%d/202611%02d/eu/execute-api/aws4_request, SignedHeaders=host, Signature=%d"
CHANGING = [
    (jwt(sub="u1", iss="i", exp=1), jwt("other", sub="u1", iss="i", exp=2), jwt(sub="u2", iss="i", exp=1)),
    (jwt(client_id="a", jti="1"), jwt(client_id="a", jti="2"), jwt(client_id="b", jti="1")),
    (AWS % (1, 20, 7), AWS % (1, 21, 8), AWS % (2, 20, 7)),
    (
        b'Digest username="a", nonce="1", response="x"',
        b'Digest username="a", nonce="2", response="y"',
        b'Digest username="b", nonce="1", response="x"',
    ),
    (b'Hawk id="a", ts="1", mac="x"', b'Hawk id="a", ts="2", mac="y"', b'Hawk id="b", ts="1", mac="x"'),
]


@pytest.mark.parametrize(("first", "renewed", "other"), CHANGING)
def test_a_renewed_credential_does_not_act_twice(first: bytes, renewed: bytes, other: bytes) -> None:
    """422, since nobody has verified it; the same one is answered, and another caller has keys of his own."""
    service = Service()

    async def main() -> None:
        assert (await post(service, first)).status == 201
        assert (await post(service, renewed)).problem == "idempotency-key-reused"
        assert (await post(service, first)).replayed
        assert service.effects == 1
        assert (await post(service, other)).status == 201
        assert service.effects == 2

    run(main(), service.clock)


def test_a_forged_token_gets_no_answer_and_leaves_no_key() -> None:
    """Who names somebody else as its subject is refused where there is an answer; the app's own 401 frees the key."""
    service = Service()
    mine, forged = jwt(sub="u1"), jwt("forged", sub="u1")

    async def main() -> None:
        await post(service, mine)
        got = await post(service, forged)
        assert (got.status, b"charge" in got.body) == (422, False)

        async def refuses(_: object, __: object, send: object) -> None:
            await send({"type": "http.response.start", "status": 401, "headers": []})  # type: ignore[operator]  # ASGI
            await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]  # as above

        service.layer.app = refuses
        assert (await post(service, forged, "k2")).status == 401
        service.layer.app = service.charge
        assert (await post(service, mine, "k2")).status == 201

    run(main(), service.clock)


@pytest.mark.parametrize(
    "credential",
    [
        b"Bearer opaque",
        b"Basic dTpw",
        b"",
        b"Bearer eyJ.e30.x",
        b"Bearer eyJh.!!!!.x",
        b"Bearer eyJh.W10.x",
        b"Bearer eyJh.//79.x",
        b"Bearer eyJh." + urlsafe_b64encode(b"[" * 50_000) + b".x",
        b"Bearer " + b"a" * 60_000,
        b"x" + b" " * 60_000 + b"y",
        b"x signature= " + b"a" * 60_000,
        b"x " + b"signature " * 6_000,
        b"x=signature=",
        b'Custom signature="a"',
    ],
)
def test_what_names_nobody_counts_as_a_whole(credential: bytes) -> None:
    """Opaque tokens, passwords, and what only looks like a token, also where it is as long as a header can be."""
    assert caller_of(credential) is None


def form(boundary: str, text: str = "hello", kind: str = "form-data") -> tuple[bytes, tuple[bytes, bytes]]:
    """A form of one file, and its content type."""
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="f"\r\n\r\n{text}\r\n--{boundary}--\r\n'
    return body.encode(), (b"content-type", f"multipart/{kind}; boundary={boundary}".encode())


def test_a_form_that_is_written_anew_is_the_same_request() -> None:
    """Whatever its boundary, and however its chunks fall; another content is another request."""
    service = Service()

    async def main() -> None:
        body, kind = form("a" * 32)
        assert (await service.post("k", body, kind)).status == 201
        body, kind = form("0123456789abcdef" * 2)
        assert (await service.post("k", body, kind)).replayed
        assert (await service.post("k", [body[n : n + 1] for n in range(len(body))], kind)).replayed
        for other in (form("b" * 32, "hallo"), form("b" * 32, kind="mixed"), form("b" * 3)):
            assert (await service.post("k", other[0], other[1])).status == 422
        assert service.effects == 1

    run(main(), service.clock)


@given(st.lists(st.sampled_from([b"boundary", b"bound", b"ary", b"b", b"x", b""]), max_size=12), st.data())
def test_chunks_make_no_difference_to_a_digest(parts: list[bytes], data: st.DataObject) -> None:
    """Wherever a body is cut, also within a boundary."""
    body = b"".join(parts)
    cut = data.draw(st.integers(0, len(body)))
    whole, pieces = Digest(b"boundary"), Digest(b"boundary")
    whole.update(body)
    pieces.update(body[:cut])
    pieces.update(body[cut:])
    assert whole.hexdigest() == pieces.hexdigest()


def test_a_large_body_that_comes_again_has_time() -> None:
    """A second for each 64 KiB above the half minute: an upload over a slow line gets its answer, and no 408."""
    service = Service()
    body = b"x" * 6_553_600

    async def main() -> None:
        assert (await service.post("k", body)).status == 201
        asked = 0

        async def slow() -> dict[str, object]:
            nonlocal asked
            asked += 1
            await service.clock.sleep(10)
            part = body[(asked - 1) * 655_360 : asked * 655_360]
            return {"type": "http.request", "body": part, "more_body": asked < 10}

        assert (await service.post("k", receive=slow)).replayed

    run(main(), service.clock)
