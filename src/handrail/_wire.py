"""The only place with both halves: what `protect` and `handrail.auto` switch on, once per process.

Everything is idempotent and can be undone. The provider is built late, when the application
has started or at its first request, because a service may set up OpenTelemetry after us.
"""

import functools
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

from . import _servers, _shapes
from ._suppressed import exporting
from ._telemetry import Telemetry
from .resilience.call import under_way
from .resilience.errors import SettingsError
from .resilience.events import Listeners
from .resilience.outbound.headers import HeaderNames
from .resilience.policy import Tools
from .resilience.registry import Registry
from .settings import Overrides, Settings, load

if TYPE_CHECKING:
    from ._reload import Follower
    from .resilience.replay.courier import Courier

__all__ = ["Process", "current", "live", "switch_off", "switch_on"]

_log = logging.getLogger("handrail")
_lock = threading.Lock()
_DRAINED_WITHIN = 5.0
"""Seconds at the end of a server for requests with a key whose clients it has given up."""
_process: "Process | None" = None

CLIENTS = ("httpx", "httpx2", "aiohttp", "urllib3", "requests")


class Process(Telemetry):
    """What is switched on in this process: settings, pipelines, tracing, and how to undo it."""

    def __init__(self, settings: Settings, arguments: Overrides | None = None) -> None:
        super().__init__(settings, lambda: None if _process is None else _process.registry)
        self._arguments: Overrides = arguments or {}
        self.follower: Follower | None = None
        self.listeners = Listeners()
        self.registry = Registry(
            settings.resilience,
            Tools(emit=self.listeners, headers=HeaderNames.of(settings.service)),
            settings.per_origin,
        )
        self.undo: list[Callable[[], None]] = []
        self._clients_on = True
        self._arrived: list[ModuleType] = []
        self.courier: Courier | None = None
        """Leads to the kept answers to keyed requests; None where keys mean nothing."""
        self._unshare: Callable[[], None] | None = None

    def switch_on(self) -> None:
        """Take hold of the client libraries, those imported later included."""
        from . import _drain, _logs, _unguarded, _work
        from ._breaker_lines import breaker_lines
        from ._bridge import Bridge

        self._share()  # these two first: their settings may be wrong
        self._keep_answers()
        self.listeners.add(Bridge(lambda: self.tracing().tracer))
        self.listeners.add(breaker_lines)
        self._count_decisions()
        self._silence_others()
        self._redact()
        self.logs = _logs.correlated(self)
        self.undo.append(_work.install())
        self.undo.append(_drain.install(lambda: live(self).settings))
        self.undo.append(_unguarded.install(lambda: live(self).settings, self.listeners, exporting()))
        for name in CLIENTS:
            _shapes.when_imported(name, self._client)
        if self.settings.faults.chaos:
            from . import _chaos

            self.undo.append(_chaos.switch_on(self))
        self._follow()

    async def flush(self) -> None:
        """What goes on alone is ended, within 5 s (shielded: `drain_timeout`), and then told to the trace."""
        ends = time.monotonic() + self.settings.inbound.drain_timeout
        if self.courier is not None and "handrail.resilience.inbound.idempotency" in sys.modules:
            from .resilience.inbound.idempotency import drain

            await drain(_DRAINED_WITHIN)
        if "handrail.resilience.inbound.shield" in sys.modules:
            from .resilience.inbound.shield import finish

            await finish(max(0.0, ends - time.monotonic()))
        await super().flush()

    def _follow(self) -> None:
        from ._reload import has_file, install

        if has_file(self.settings):
            self.undo.append(install(self, self._arguments))

    def _share(self) -> None:
        if self.settings.service.shared_state:
            from . import _shared

            self._unshare = _shared.install(self.settings, self.registry, self.listeners)
            self.undo.append(self._end_sharing)

    def _end_sharing(self) -> None:
        unshare, self._unshare = self._unshare, None
        if unshare is not None:
            unshare()

    def follow(self, settings: Settings) -> None:
        """Take over other settings of the service (deadlines, headers, `strict`, sharing) while it runs.

        Raises SettingsError where breakers cannot be shared that way, before anything has changed.
        """
        from . import _layers

        service, old = settings.service, self.settings.service
        if (service.shared_state, service.shared_quorum) != (old.shared_state, old.shared_quorum):
            self._share_anew(settings)
        self.settings = settings
        self.registry.tools.headers.follow(service)
        _layers.follow(service)

    def _share_anew(self, settings: Settings) -> None:
        fresh: Callable[[], None] | None = None
        if settings.service.shared_state:
            from . import _shared

            fresh = _shared.install(settings, self.registry, self.listeners, at_once=True)
        self._end_sharing()
        self._unshare = fresh
        if self._end_sharing not in self.undo:
            self.undo.append(self._end_sharing)

    def _keep_answers(self) -> None:
        from . import _replay

        self.courier = _replay.courier(self.settings)
        if self.courier is not None:
            self.undo.append(self.courier.end)

    def _count_decisions(self) -> None:
        if self.measuring:
            from ._bridge_metrics import MetricsBridge

            self.listeners.add(MetricsBridge(lambda: self.metrics().meter))

    def _silence_others(self) -> None:
        if not self.settings.tracing.disabled:
            from .tracing import others as _others

            self.undo.append(_others.install())

    def _redact(self) -> None:
        from .tracing import redact

        telling = self.settings.tracing.telling
        self.undo.append(redact.use(redact.Redaction(telling.redact_deny, telling.redact_allow)))

    def _client(self, module: ModuleType) -> None:
        self._arrived.append(module)
        if len(self._arrived) > 1:
            return  # importing the instrumentation imports httpx2: its turn comes below
        while self._clients_on and self._arrived:
            try:
                self._take_hold(self._arrived[0])
            except Exception as error:  # a stub of somebody's test, or a version that looks otherwise
                name = getattr(self._arrived[0], "__name__", "a client library")
                _log.warning("calls through %s are not guarded: %s: %s", name, type(error).__name__, error)
            self._arrived.pop(0)

    def _take_hold(self, module: ModuleType) -> None:
        from .resilience import outbound as resilience_outbound
        from .tracing import outbound as tracing_outbound

        # One span per attempt: tracing next to the wire, the pipeline around it.
        if not self.settings.tracing.disabled:
            measure = (lambda: self.metrics().client) if self.measuring else None
            self.undo.append(tracing_outbound.install(module, measure, under_way.get))
        self.undo.append(resilience_outbound.install(module, self.registry, exporting()))

    def switch_off(self) -> None:
        """Give the client libraries back as they were."""
        self._clients_on = False
        if self._metrics is not None:
            self._metrics.shutdown(0)
        while self.undo:
            self.undo.pop()()


def switch_on(arguments: Overrides) -> Process:
    """Switch handrail on for this process; a second time is the same as once.

    Raises SettingsError for wrong settings, and where two calls ask for different ones.
    """
    global _process
    with _lock:
        if _process is None:
            process = Process(load(arguments), arguments)
            if process.settings.enabled:
                process.switch_on()
                _watch_the_end()
            _process = process
        elif arguments:
            _process = _changed(_process, arguments)
        return _process


@functools.cache
def _watch_the_end() -> None:
    async def flush() -> None:
        if _process is not None:
            await _process.flush()

    _servers.at_end(flush)


def _changed(process: Process, arguments: Overrides) -> Process:
    if process.follower is not None and arguments == process._arguments:
        return process  # the file may have changed since, and is followed
    settings = load(arguments)
    if replace(settings, origins={}) == replace(process.settings, origins={}):
        return process
    if "argument" in process.settings.origins.values():
        raise SettingsError(
            "protect() was called before in this process with other settings; "
            f"now: {_shown(arguments)}. The outbound policies are shared by all apps of a process: "
            "pass the same settings to each call, or put them into handrail.toml"
        )
    # `import handrail.auto` came first; what the code says explicitly is more than the environment.
    process.switch_off()
    fresh = Process(settings, arguments)
    if settings.enabled:
        fresh.switch_on()
    return fresh


def _shown(arguments: Overrides) -> str:
    from .tracing import redact

    return redact.text(repr(dict(arguments)))  # a URL may hold a password


def current() -> Process | None:
    """What is switched on, if anything."""
    return _process


def switch_off() -> None:
    """Undo everything in this process; for tests and for the way back."""
    global _process
    with _lock:
        if _process is not None:
            _process.switch_off()
            _process = None


def live(made_for: Process) -> Process:
    """What is switched on now, else the process that the caller was made for: settings may come anew."""
    return _process or made_for
