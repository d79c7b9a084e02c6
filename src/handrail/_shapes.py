"""How an application of each kind is taken in: in place where its type must stay, wrapped otherwise.

Frameworks have instances that others look at (`isinstance(app, FastAPI)`, `app.state`, route
decorators). Their class's `__call__` is made to pass through our layers, so `protect(app)` returns
the very same object, and a middleware stack that is rebuilt at start cannot lose us.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar, cast

import wrapt

__all__ = ["ASGIApp", "Layered", "in_place_module", "is_factory", "patch_class", "refuse_others"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

A = TypeVar("A")

MARK = "handrail"
"""The scope key that says: already inside our layers."""

FRAMEWORKS = {
    "starlette.applications": "Starlette",
    "fastapi.applications": "FastAPI",
    "litestar.app": "Litestar",
    "quart.app": "Quart",
    "django.core.handlers.asgi": "ASGIHandler",
}
"""Module and class whose `__call__` we pass through; FastAPI's own starts a span before Starlette's."""


class Layered:
    """A plain ASGI callable inside our layers. Every attribute is the application's own."""

    __slots__ = ("__weakref__", "_handrail_app", "_handrail_layers")

    def __init__(self, app: ASGIApp, layers: ASGIApp) -> None:
        object.__setattr__(self, "_handrail_app", app)
        object.__setattr__(self, "_handrail_layers", layers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if MARK in scope:
            await self._handrail_app(scope, receive, send)
        else:
            await self._handrail_layers(scope, receive, send)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_handrail_"):
            raise AttributeError(name)  # half made, while it is being copied
        return getattr(self._handrail_app, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._handrail_app, name, value)

    def __reduce__(self) -> tuple[Callable[[ASGIApp], object], tuple[ASGIApp]]:
        return _again, (self._handrail_app,)

    def __repr__(self) -> str:
        return f"protect({self._handrail_app!r})"


def _again(app: ASGIApp) -> object:
    """A copy is protected anew: its layers are around the copied application."""
    from . import protect

    return protect(app)


def in_place_module(app: object) -> str | None:
    """The framework module of FRAMEWORKS whose class the app is an instance of, if any."""
    for cls in type(app).__mro__:
        if FRAMEWORKS.get(cls.__module__) == cls.__name__:
            return cls.__module__
    return None


def patch_class(cls: type, layers_of: Callable[[object, ASGIApp], ASGIApp | None]) -> Callable[[], None]:
    """Send the class's calls through `layers_of(instance, original bound call)`; None means straight on.

    Returns the undo.
    """
    original = cls.__dict__["__call__"]

    @functools.wraps(original)
    async def __call__(self: object, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: N807 (it replaces one)
        if MARK not in scope:
            layers = layers_of(self, original.__get__(self))
            if layers is not None:
                await layers(scope, receive, send)
                return
        await original(self, scope, receive, send)

    cls.__call__ = __call__  # type: ignore[method-assign] # a method of a class known only at run time

    def undo() -> None:
        if cls.__dict__.get("__call__") is __call__:
            cls.__call__ = original  # type: ignore[method-assign] # as above

    return undo


def when_imported(module: str, then: Callable[[Any], None]) -> None:
    """Run `then(module)` now if it is imported, else right after its import."""
    wrapt.register_post_import_hook(then, module)


def is_factory(app: object) -> bool:
    """Whether this is a function without parameters: it makes the app, it is not one."""
    return (inspect.isfunction(app) or isinstance(app, functools.partial)) and not _required(app)


def refuse_others(app: object) -> None:
    """TypeError for what is no ASGI 3 application, with what to do instead."""
    if not callable(app):
        raise TypeError(f"protect() takes an ASGI 3 application, got {app!r}, which cannot be called")
    required = _required(app)
    if required is not None and len(required) == 2:
        raise TypeError(
            f"protect() takes an ASGI 3 application (scope, receive, send); {app!r} looks like WSGI "
            "(environ, start_response). Wrap it first, for instance with a2wsgi.WSGIMiddleware"
        )


def _required(app: object) -> list[str] | None:
    try:
        parameters = inspect.signature(cast("Callable[..., object]", app)).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
