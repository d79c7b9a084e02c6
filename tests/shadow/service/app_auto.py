"""import handrail.auto before a framework's application."""

import handrail.auto
from framework import build

app = build()


def make():
    return build()


if __name__ == "__main__":
    import sys

    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
