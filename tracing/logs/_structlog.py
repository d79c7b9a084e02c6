"""The fields in structlog's events: our processor in the configured chain.

In the chain, and not in the logger's class, so that `structlog.testing.capture_logs` sees what it saw without us. The
list is changed in place, because loggers that are bound already hold it; that it may be replaced by a later
`structlog.configure` is noticed where lazy loggers take it.
"""

from collections.abc import Callable, MutableMapping
from types import ModuleType
from typing import Any

from ._fields import Fields

Processor = Callable[[Any, str, MutableMapping[str, Any]], Any]


def correlate(config: ModuleType, fields: Fields) -> Callable[[], None]:
    """`config` is structlog._config. Returns the undo."""
    from .. import logs

    def processor(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return fields.add(event)

    done: list[list[Processor]] = []

    def look() -> None:
        chain = config._CONFIG.default_processors
        if done and done[-1] is chain:
            return
        if not isinstance(chain, list):
            config._CONFIG.default_processors = chain = list(chain)
        done[:] = [*[known for known in done if known is not chain][-7:], chain]
        if processor not in chain and logs.structlog_processor not in chain:
            chain.insert(_place(chain), processor)

    proxy = config.BoundLoggerLazyProxy
    bind_before = proxy.bind

    def bind(self: Any, **new_values: Any) -> Any:
        look()
        return bind_before(self, **new_values)

    def undo() -> None:
        if proxy.bind is bind:
            proxy.bind = bind_before
        for chain in done:
            if processor in chain:
                chain.remove(processor)

    look()
    proxy.bind = bind
    return undo


def _place(chain: list[Processor]) -> int:
    """Behind `merge_contextvars`, which lets what is there already win over what the service bound."""
    for index, processor in enumerate(chain):
        if getattr(processor, "__name__", "") == "merge_contextvars":
            return index + 1
    return 0
