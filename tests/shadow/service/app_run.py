"""No word of handrail: this one is started by `handrail run`."""

from plain import plain

app = plain


def make():
    return plain


if __name__ == "__main__":
    import sys

    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
