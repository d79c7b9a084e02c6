"""How `protect` and `handrail.auto` put the layers around an application of each shape."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

from . import _servers, _shapes, _wire
from ._shapes import ASGIApp, Layered
from .settings import Overrides

__all__ = ["automatic", "protect"]

_LAYERS = "_handrail_layers"
_CLAIMED = object()
_by_id: dict[int, tuple[object, object]] = {}
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
    return Layered(asgi, _wire.layers(asgi, asgi))


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
    if found is _CLAIMED or (found is None and _automatic):
        # Built at the first call: only there the class's own `__call__` is known.
        layers = _wire.layers(straight, app)
        _set(app, layers)
        return layers
    return cast("ASGIApp | None", found)


def _claim(app: object) -> None:
    if _get(app) is None:
        _set(app, _CLAIMED)


def _get(app: object) -> object:
    found = getattr(app, _LAYERS, None)
    if found is None and _by_id:
        found = _by_id.get(id(app), (None, None))[1]
    return found


def _set(app: object, value: object) -> None:
    try:
        object.__setattr__(app, _LAYERS, value)
    except AttributeError:  # a class with __slots__
        _by_id[id(app)] = (app, value)
