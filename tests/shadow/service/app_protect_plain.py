"""protect(app) around a plain function."""

from handrail import protect
from plain import plain

app = protect(plain)


def make():
    return protect(plain)


if __name__ == "__main__":
    import sys

    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
