"""Which store a process keeps its answers in, and that a protected application replays them."""

import json
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import handrail
from handrail import SettingsError, _wire
from handrail._replay import courier, place, sqlite_path
from handrail._unguarded import _own
from handrail.settings import Overrides, load

pytestmark = pytest.mark.usefixtures("spans")


def shop() -> tuple[Starlette, list[str | None]]:
    """An application that notes the keys that it worked for."""
    seen: list[str | None] = []

    async def charge(_: Request) -> JSONResponse:
        seen.append(handrail.idempotency_key())
        return JSONResponse({"charge": len(seen)}, 201)

    return Starlette(routes=[Route("/charges", charge, methods=["POST"])]), seen


def test_a_protected_application_acts_once_for_a_key(tmp_path: Path) -> None:
    """The answer of the first is given again, and says so; without a key each request acts."""
    app, seen = shop()
    with TestClient(handrail.protect(app, idempotency_store=f"sqlite:///{tmp_path}/a.sqlite")) as client:
        answers = [client.post("/charges", headers={"idempotency-key": '"k1"'}, json={"a": 1}) for _ in range(2)]
        other = client.post("/charges", json={"a": 1})
    assert [answer.json() for answer in answers] == [{"charge": 1}, {"charge": 1}]
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert other.json() == {"charge": 2}
    assert seen == ["k1", None]
    assert other.headers["idempotency-key-honoured"].startswith('?1;store="')


def test_off_lets_every_key_pass(tmp_path: Path) -> None:
    """`off`: no store, no promise, and a key means nothing."""
    app, seen = shop()
    with TestClient(handrail.protect(app, idempotency_store="off")) as client:
        answers = [client.post("/charges", headers={"idempotency-key": '"k1"'}) for _ in range(2)]
    assert [answer.json()["charge"] for answer in answers] == [1, 2]
    assert all("idempotency-key-honoured" not in answer.headers for answer in answers)
    assert seen == [None, None]
    assert list(tmp_path.iterdir()) == []


def test_auto_is_off_under_pytest_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that sends a fixed key must not get the answer of its last run; any other process has a store."""
    settings = load({}, {"XDG_STATE_HOME": str(tmp_path)}, tmp_path)
    assert courier(settings) is None
    monkeypatch.delitem(sys.modules, "pytest")
    assert courier(settings) is None  # a server that a test has started
    monkeypatch.delenv("PYTEST_VERSION")
    found = courier(settings)
    assert found is not None
    found.end()


def test_auto_is_a_file_of_the_service_in_the_state_folder(tmp_path: Path) -> None:
    """One for each service; a name that is no file name is written so that it is one."""
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    path = sqlite_path(load({"service_name": "shop/../orders"}, environ, tmp_path), "main")
    assert path == tmp_path / "handrail" / "idempotency" / "shop%2F..%2Forders.sqlite3"


@pytest.mark.parametrize("project", ["", '[project]\nname = "shop"\nversion = "1"\n'])
def test_two_services_of_one_folder_have_two_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    """A name that was found, not given, is that of both: the file that protects each tells them apart."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(project)
    found = []
    for file in ("order.py", "pay.py"):
        names: dict[str, object] = {"__name__": "main", "place": place}
        exec(compile("found = place()", str(tmp_path / file), "exec"), names)
        found.append(str(names["found"]))
    settings = load({}, {"XDG_STATE_HOME": str(tmp_path)}, tmp_path)
    paths = [sqlite_path(settings, where) for where in found]
    name = "shop" if project else tmp_path.name
    folder = tmp_path / "handrail" / "idempotency"
    assert paths == [folder / f"{name} order.sqlite3", folder / f"{name} pay.sqlite3"]


def test_a_service_outside_of_the_folder_is_known_by_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed in site-packages, say: where that stands differs from machine to machine."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "shop.main", "place": place}
    exec(compile("found = place()", "/opt/site-packages/shop/main.py", "exec"), names)
    assert names["found"] == "shop.main"


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:////var/a.db", "/var/a.db"), ("sqlite:///a%20b.db", "a b.db"), ("redis://127.0.0.1/0", None)],
)
def test_a_url_of_a_file(url: str, path: str | None, tmp_path: Path) -> None:
    """As SQLAlchemy writes them: three slashes and a path, which may be absolute."""
    found = sqlite_path(load({"idempotency_store": url}, {}, tmp_path), "main")
    assert found == (None if path is None else Path(path))


@pytest.mark.parametrize("url", ["redis://h:port/x", "postgresql://h:port/x"])
def test_a_url_that_means_nothing_stops_the_start(url: str) -> None:
    """Not the first request: SettingsError, by the name of the setting."""
    app, _ = shop()
    with pytest.raises(SettingsError, match="idempotency_store"):
        handrail.protect(app, idempotency_store=url)


def test_a_second_protect_with_other_settings_holds_for_the_same_layers(tmp_path: Path) -> None:
    """Layers that stood before (`handrail.auto`) follow the process that is on."""
    app, seen = shop()
    first = Overrides(idempotency_store=f"sqlite:///{tmp_path}/a.sqlite")
    protected = handrail.protect(app, **first)
    key = {"idempotency-key": '"k1"'}
    with TestClient(protected) as client:
        client.post("/charges", headers=key)
    _wire.switch_off()
    _wire.switch_on(Overrides(idempotency_store=f"sqlite:///{tmp_path}/b.sqlite"))
    with TestClient(protected) as client:
        assert client.post("/charges", headers=key).json() == {"charge": 2}
    assert json.dumps(seen) == '["k1", "k1"]'


def test_the_store_is_a_declared_destination(tmp_path: Path) -> None:
    """`strict` lets handrail reach what the settings name, with the scheme's port where none stands there."""
    environ = {"HANDRAIL_IDEMPOTENCY_STORE": "postgresql://u:p@db/x", "HANDRAIL_SHARED_STATE": "redis://r:1/0"}
    assert _own(load({}, environ, tmp_path)) == ["r:1", "db:5432"]
