"""Votes in Redis: the one file that knows redis-py. Every function here may wait for a socket: never on a call's path.

`handrail:breaker:1:<service>:open` is a sorted set of the targets that have votes, by the time of the last one's end;
`handrail:breaker:1:<service>:votes:<target>` one of the votes for a target, by their ends. All times are those of the
server's own clock. Both end by themselves when nobody writes any more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from ..errors import SettingsError
from ._votes import LONGEST, Vote, parsed

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline
    from redis.connection import AbstractConnection

__all__ = ["MOST_TARGETS", "MOST_VOTES", "Found", "RedisVotes", "Store", "client", "reached", "shown", "unknown_script"]

PREFIX = "handrail:breaker:1"
"""1 is the version of what stands in the keys."""
TIMEOUT = 0.5
"""Seconds for a connection, and for each answer."""
MOST_TARGETS = 1000
"""Targets with votes that are looked at in one round, those whose votes last longest."""
MOST_VOTES = 1000
"""Votes for one target that are read, those that last longest."""


class Found(NamedTuple):
    """The votes for a target. `more`: there may be others, that end earlier."""

    votes: list[Vote]
    more: bool = False


class Store(Protocol):
    """Where votes are kept. `trouble` is what it refused of the last round, or is empty."""

    trouble: str

    def now(self) -> float:
        """Its clock, seconds since the epoch. Raises where it cannot be reached."""
        ...

    def exchange(self, given: Mapping[str, Vote], gone: Iterable[tuple[str, Vote]], now: float) -> list[str]:
        """Put down and withdraw votes, by target; returns the targets that somebody votes on."""
        ...

    def votes(self, targets: Sequence[str], now: float, most: int = MOST_VOTES) -> dict[str, Found]:
        """The votes that have not ended, at most so many for each target."""
        ...

    def close(self) -> None:
        """Let the connection go. Does not raise."""
        ...


class RedisVotes:
    """The votes of one service. Its connection is made at the first use, and belongs to one thread.

    Raises SettingsError where redis-py is missing or does not understand the URL; its methods raise what redis-py
    does where the server cannot be reached.
    """

    def __init__(self, url: str, service: str) -> None:
        self._redis = client(url)
        self._open = f"{PREFIX}:{service}:open"
        self._votes = f"{PREFIX}:{service}:votes:"
        self.trouble = ""

    def now(self) -> float:
        """See Store."""
        self.trouble = ""
        seconds, micros = self._redis.time()
        return seconds + micros / 1e6

    def exchange(self, given: Mapping[str, Vote], gone: Iterable[tuple[str, Vote]], now: float) -> list[str]:
        """See Store."""
        pipe = self._redis.pipeline(transaction=False)
        for target, vote in gone:
            pipe.zrem(self._votes + target, str(vote))
        for target, vote in given.items():
            key = self._votes + target
            pipe.zremrangebyscore(key, "-inf", now)
            pipe.zadd(key, {str(vote): vote.ends})
            pipe.expire(key, int(LONGEST))
            pipe.zadd(self._open, {target: vote.ends}, gt=True)
        if given:
            pipe.zremrangebyscore(self._open, "-inf", now)
            pipe.expire(self._open, int(LONGEST))
        pipe.zrevrangebyscore(self._open, "+inf", f"({now}", start=0, num=MOST_TARGETS)
        found = self._answers(pipe)[-1]
        return [_text(name) for name in found] if isinstance(found, list) else []

    def votes(self, targets: Sequence[str], now: float, most: int = MOST_VOTES) -> dict[str, Found]:
        """See Store. What is no vote is passed over."""
        pipe = self._redis.pipeline(transaction=False)
        for target in targets:
            pipe.zrevrangebyscore(self._votes + target, "+inf", f"({now}", start=0, num=most, withscores=True)
        answers = zip(targets, self._answers(pipe), strict=True)
        return {
            target: Found(
                [vote for text, ends in found if (vote := parsed(_text(text), ends)) is not None], len(found) >= most
            )
            for target, found in answers
            if isinstance(found, list)
        }

    def close(self) -> None:
        """See Store."""
        with suppress(Exception):
            self._redis.close()

    def _answers(self, pipe: "Pipeline") -> list[object]:
        """Each answer, or the error in its place: a full server still reads, and one bad key spoils no other."""
        answers: list[object] = pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not self.trouble:
                self.trouble = reason(answer)
        return answers


def reached(url: str) -> str:
    """Empty where the server answers in time, or the reason why not. Raises SettingsError as RedisVotes does."""
    try:
        with client(url) as asked:
            asked.time()
    except SettingsError:
        raise
    except Exception as error:
        return reason(error)
    return ""


def reason(error: Exception) -> str:
    """Why a round failed, on one short line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def shown(url: str) -> str:
    """The URL without user, password and query; its scheme alone where it is not clear where a password ends."""
    parts = urlsplit(url)
    if "@" in parts.path + parts.query + parts.fragment:
        return f"{parts.scheme}://..."
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def client(
    url: str,
    setting: str = "shared_state",
    timeout: float = TIMEOUT,
    connected: "Callable[[AbstractConnection], None] | None" = None,
) -> "Redis":
    """A client that tries each command once, with `timeout` seconds for a connection and for each answer.

    `connected` is called in place of redis-py's own greeting, and must call `on_connect()`. Raises SettingsError,
    which names the `setting`, where redis-py is missing or does not understand the URL.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise SettingsError(f"{setting} needs redis-py: pip install 'handrail[redis]'") from error
    # Before redis-py 6 a certificate of any name would do.
    named = {"ssl_check_hostname": True} if url.startswith("rediss://") else {}
    try:
        # A lost connection must be heard of, not mended in silence: the server may have lost what it held as well.
        return redis.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            client_name="handrail",
            protocol=2,
            redis_connect_func=connected,
            **named,
        )
    except (ValueError, TypeError) as error:
        # What it did not understand may be a piece of a password.
        said = error if "@" not in url else "in a password / @ : and % are written %2F %40 %3A %25"
        raise SettingsError(f"{setting} cannot be used: {said}") from (error if "@" not in url else None)


def unknown_script(error: object) -> bool:
    """Whether the server was asked for a script that it does not know."""
    from redis.exceptions import NoScriptError

    return isinstance(error, NoScriptError)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
