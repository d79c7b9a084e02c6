"""Switches handrail on while an interpreter starts, where nobody can catch an exception."""

import os
import sys

__all__ = ["start"]


def start() -> None:
    """The same as `import handrail.auto`, at a point where an exception would be swallowed.

    Wrong settings end the process with exit code 2 and the whole message on stderr. Any other
    failure is printed, and the process goes on without protection: a side process of the
    service must not die of us.
    """
    from .resilience.errors import SettingsError

    try:
        from . import auto  # noqa: F401 (importing it is the switch)
    except SettingsError as error:
        print(f"handrail: {error}", file=sys.stderr, flush=True)  # noqa: T201 (logging is not set up yet)
        # SystemExit inside sitecustomize is a fatal error of the interpreter, with a page of traceback.
        os._exit(2)
    except Exception:
        import traceback

        print("handrail: could not start; this process runs without it", file=sys.stderr)  # noqa: T201 (see above)
        traceback.print_exc()
