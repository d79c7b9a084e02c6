"""Answers in Postgres, asked for by many processes while the server dies and is frozen."""

from pathlib import Path

from tests.postgres_server import PostgresServer
from tests.replay.claimers import claimed_once


def test_each_key_is_new_to_one_of_four_processes(tmp_path: Path) -> None:
    """2,000 keys, asked for eight times each, over a kill -9, a start and a freeze: each is carried out once."""
    with PostgresServer(tmp_path) as server:
        errors = claimed_once(server, tmp_path)
    assert "no answer within 2 s" in errors
    assert "StoreChanged" not in errors
    assert "deadlock" not in errors
