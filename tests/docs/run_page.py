"""Runs the Python blocks of a page in one process: a file with `[[where, text], ...]` is the argument."""

import ast
import asyncio
import inspect
import json
import linecache
import sys
import traceback
from pathlib import Path
from types import TracebackType


def main() -> None:
    sys.excepthook = show
    sys.path.insert(0, str(Path.cwd()))
    names: dict[str, object] = {"__name__": "page"}
    for where, text in json.loads(Path(sys.argv[1]).read_text("utf-8")):
        linecache.cache[where] = (len(text), None, text.splitlines(True), where)  # so that a traceback shows the block
        code = compile(text, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, names))
        else:
            exec(code, names)


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print with the source of the block, which the interpreter's own printing would not find."""
    traceback.print_exception(kind, error, trace)


if __name__ == "__main__":
    main()
