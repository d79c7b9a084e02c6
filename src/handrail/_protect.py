"""How `protect` and `handrail.auto` put the layers around an application of each shape."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from . import _layers, _servers, _shapes, _wire
from ._shapes import ASGIApp, Layered
from .settings import Overrides

__all__ = ["automatic", "protect"]

_LAYERS = "_handrail_layers"
_by_id: dict[int, tuple[object, "_Entry"]] = {}
_patched: dict[type, Callable[[], None]] = {}
_automatic = False


def protect(app: object, settings: Overrides) -> object:
    """See `handrail.protect`."""
    process = _wire.switch_on(settings)
    if isinstance(app, Layered) or not process.settings.enabled:
        return app
    if _shapes.is_factory(app):
        return _factory(cast("Callable[..., object]", app))
    if _shapes.in_place_module(app) is not None:
        for cls in type(app).__mro__:
            if _shapes.FRAMEWORKS.get(cls.__module__) == cls.__name__:
                _patch(cls)
        _claim(app)
        return app
    _shapes.refuse_others(app)
    asgi = cast("ASGIApp", app)
    return Layered(asgi, _layers.layers(asgi, asgi))


def automatic() -> None:
    """Protect every application that this process serves, whoever makes it and when."""
    global _automatic
    process = _wire.switch_on({})
    if _automatic or not process.settings.enabled:
        return
    _automatic = True
    for module, name in _shapes.FRAMEWORKS.items():
        _shapes.when_imported(module, functools.partial(_patch_in, name=name))
    _servers.watch(lambda app: cast("ASGIApp", app if _covered(app) else protect(app, {})))


def _covered(app: object) -> bool:
    return isinstance(app, Layered) or _shapes.in_place_module(app) is not None


def _patch_in(module: ModuleType, name: str) -> None:
    _patch(getattr(module, name))


def _patch(cls: type) -> None:
    if cls not in _patched and "__call__" in cls.__dict__:
        _patched[cls] = _shapes.patch_class(cls, _layers_of)


def _factory(make: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(make)
    def made(*args: Any, **kwargs: Any) -> object:
        return protect(make(*args, **kwargs), {})

    return made


def _layers_of(app: object, straight: ASGIApp) -> ASGIApp | None:
    found = _get(app)
    if found is None and not _automatic:
        return None
    if found is None or found.layers is None or found.owner != id(app):
        # Built at the first call: only there the class's own `__call__` is known. A copy of an
        # app has the original's entry, whose layers lead to the original.
        found = _Entry(id(app), _layers.layers(straight, app))
        _set(app, found)
    return found.layers


def _claim(app: object) -> None:
    if _get(app) is None:
        _set(app, _Entry(id(app), None))


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is kept at an application that is protected in place."""

    owner: int
    layers: ASGIApp | None


def _get(app: object) -> _Entry | None:
    found: _Entry | None = getattr(app, _LAYERS, None)
    if found is None and _by_id:
        kept = _by_id.get(id(app))
        found = kept[1] if kept is not None else None
    return found


def _set(app: object, entry: _Entry) -> None:
    try:
        object.__setattr__(app, _LAYERS, entry)
    except AttributeError:  # a class with __slots__
        _by_id[id(app)] = (app, entry)
