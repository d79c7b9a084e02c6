"""A problem as a page for people: no script, nothing loaded, light and dark, legible without its style."""

import functools
from base64 import b64encode
from hashlib import sha256
from html import escape

from ._answer import Answer

__all__ = ["HTML", "page", "policy"]

HTML = b"text/html; charset=utf-8"

_STYLE = """
:root { color-scheme: light dark;
  --text: #1f2328; --quiet: #59636e; --line: #d1d9e0; --page: #ffffff; --link: #0757b8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --quiet: #9198a1; --line: #3d444d; --page: #0d1117; --link: #79b8ff; }
}
body { margin: 0; padding: 10vh 1.5rem 4rem; background: var(--page); color: var(--text);
  font: 1rem/1.6 system-ui, sans-serif; }
main { max-width: 38rem; margin: 0 auto; }
h1 { margin: 0 0 1rem; font-size: 1.75rem; line-height: 1.25; font-weight: 600; }
p { margin: 0 0 1rem; }
dl { margin: 2rem 0 0; padding: 1.25rem 0 0; border-top: 1px solid var(--line); font-size: .875rem; }
dt { color: var(--quiet); }
dd { margin: 0 0 .75rem; overflow-wrap: anywhere; }
code { font: .875rem/1.5 ui-monospace, monospace; user-select: all; }
a { color: var(--link); }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{heading}</h1>
<p>{happened}</p>
{again}<dl>
{known}</dl>
</main>
</body>
</html>
"""
_WORDS = {
    400: ("The request was not understood", "Something in it is not as it should be."),
    408: ("The request took too long to arrive", "Its rest did not come in time. Please send it again."),
    409: ("This is being worked on, or was done before", "Please look at what it did before you send it again."),
    413: ("That is too large", "The service does not take as much as was sent."),
    429: ("Too many requests at once", "Please let the others finish first."),
    431: ("The request has too much around it", "Deleting the cookies of this site may help."),
    500: ("Something went wrong here", "It was not your fault, and trying again may not help."),
    503: ("Not available right now", "The service, or something that it depends on, cannot answer at the moment."),
    504: ("This took too long", "The answer did not come in time. It is not known whether anything was done."),
}
_OTHERWISE = {4: ("The request was refused", "It cannot be answered as it is."), 5: _WORDS[500]}


def page(answer: Answer, trace_id: str | None, link: str = "") -> bytes:
    """The page. `link`: where the trace is seen, an address with http or https; empty: nowhere."""
    heading, happened = _WORDS.get(answer.status) or _OTHERWISE[4 if answer.status < 500 else 5]
    known = [("What the service says", escape(answer.detail)), ("Status", f"{answer.status} {escape(answer.title)}")]
    if trace_id:
        known.append(("To quote when you ask about it", f"<code>{escape(trace_id)}</code>"))
    if link:
        known.append(("Where it can be seen", f'<a href="{escape(link)}">the trace of this request</a>'))
    wait = answer.wait
    return _PAGE.format(
        title=escape(f"{answer.status} {answer.title}"),
        style=_STYLE,
        heading=heading,
        happened=happened,
        again="" if wait is None else f"<p>Please try again {escape(_when(wait))}.</p>\n",
        known="".join(f"<dt>{name}</dt><dd>{value}</dd>\n" for name, value in known),
    ).encode("utf-8", "backslashreplace")


@functools.cache
def policy() -> tuple[bytes, bytes]:
    """The page's Content-Security-Policy: its own style, and nothing else."""
    digest = b64encode(sha256(_STYLE.encode()).digest())
    rest = b"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return b"content-security-policy", b"default-src 'none'; style-src 'sha256-" + digest + b"'" + rest


def _when(wait: int | str) -> str:
    if isinstance(wait, str):
        return f"after {wait}"
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if wait >= 2 * size:
            return f"in {-(-wait // size)} {unit}s"
    return "now" if wait == 0 else f"in {wait} second{'' if wait == 1 else 's'}"
