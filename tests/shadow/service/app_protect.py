"""protect(app) around a framework's application."""

from framework import build
from handrail import protect

app = protect(build())


def make():
    return protect(build())


if __name__ == "__main__":
    import sys

    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
