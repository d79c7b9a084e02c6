"""Get a real Jaeger binary for the tests, and say which one it is.

Looks for `HANDRAIL_JAEGER`, then PATH, then Go's bin folder; builds one with Go where there is none. The path of the
binary is the last line on standard output, everything else goes to standard error. Exit code: 0 there is a Jaeger,
1 there is none.

Jaeger's tags from 2.0 on cannot be fetched as a Go module (its path has no /v2), so the release is pinned by commit.
Where a module proxy refuses that commit, the newest tag of the same source tree that it serves is built instead.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

MODULE = "github.com/jaegertracing/jaeger"


class Source(NamedTuple):
    """A version of the module and the Jaeger release that it is."""

    version: str
    release: str


PINNED = Source("798e4b0fcf22", "2.20.0")
FALLBACK = Source("v1.76.0", "2.13.0")


def say(text: str) -> None:
    print(f"jaeger: {text}", file=sys.stderr, flush=True)


def give_up(text: str) -> NoReturn:
    say(text)
    raise SystemExit(1)


def go_bin() -> Path | None:
    """Return the folder in which `go install` puts binaries, None without Go."""
    if shutil.which("go") is None:
        return None
    answer = json.loads(go("env", "-json", "GOBIN", "GOPATH"))
    return Path(answer["GOBIN"] or Path(answer["GOPATH"].split(os.pathsep)[0]) / "bin")


def go(*arguments: str, cwd: Path | None = None) -> str:
    """Run Go; raises CalledProcessError with what it printed in `.stderr`."""
    done = subprocess.run(["go", *arguments], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout


def existing() -> Path | None:
    """Return the binary that is there already: the tests look in the same places.

    Raises OSError where HANDRAIL_JAEGER names something else.
    """
    if named := os.environ.get("HANDRAIL_JAEGER"):
        if not Path(named).is_file() or not os.access(named, os.X_OK):
            raise OSError(f"HANDRAIL_JAEGER={named} is not an executable file")
        return Path(named)
    if found := shutil.which("jaeger"):
        return Path(found)
    folder = go_bin()
    return folder / "jaeger" if folder and os.access(folder / "jaeger", os.X_OK) else None


def fetch(source: Source) -> Path:
    """Download one version of Jaeger's source; returns its (read-only) folder."""
    try:
        return Path(json.loads(go("mod", "download", "-json", f"{MODULE}@{source.version}"))["Dir"])
    except subprocess.CalledProcessError as error:
        # with -json the reason is in the answer on standard output, not in the error stream
        raise OSError(reason(error)) from error


def reason(error: subprocess.CalledProcessError) -> str:
    try:
        text = json.loads(error.stdout)["Error"]
    except (ValueError, KeyError, TypeError):
        text = error.stderr
    return " ".join(str(text).split())


def build(source: Source, target: Path) -> None:
    """Compile in a copy: the module cache is read-only, and `go install` refuses modules with replace lines."""
    with tempfile.TemporaryDirectory(prefix="jaeger-") as scratch:
        tree = Path(scratch) / "src"
        shutil.copytree(fetch(source), tree, copy_function=shutil.copyfile)
        for folder in (tree, *(p for p in tree.rglob("*") if p.is_dir())):
            folder.chmod(0o755)
        try:
            go("build", "-trimpath", "-ldflags", "-s -w", "-o", str(Path(scratch) / "jaeger"), "./cmd/jaeger", cwd=tree)
        except subprocess.CalledProcessError as error:
            raise OSError(reason(error)) from error
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(Path(scratch) / "jaeger", target)


def install(target: Path) -> None:
    refused = ""
    for source in (PINNED, FALLBACK):
        began = time.monotonic()
        say(
            f"building {source.release} ({MODULE}@{source.version}) into {target}; about one minute, a few on few cores"
        )
        try:
            build(source, target)
        except OSError as error:
            refused = f", not {PINNED.release}, which was refused (above)"
            say(f"{source.release} refused: {error}")
            continue
        say(f"built {source.release} in {time.monotonic() - began:.0f} s{refused}")
        target.with_name("jaeger.version").write_text(f"{source.release} {MODULE}@{source.version}\n")
        return
    give_up("none could be built; see above")


def main() -> None:
    options = argparse.ArgumentParser(description="Get a real Jaeger binary for the tests.")
    options.add_argument("--rebuild", action="store_true", help="build even where one is there")
    asked = options.parse_args()
    try:
        binary = None if asked.rebuild else existing()
    except OSError as error:
        give_up(str(error))
    if binary is None:
        folder = go_bin()
        if folder is None:
            give_up("no Jaeger found and no Go to build one: install Go (https://go.dev/dl) or set HANDRAIL_JAEGER")
        binary = folder / "jaeger"
        install(binary)
    note = binary.with_name("jaeger.version")
    say(f"using {binary}, version {note.read_text().strip() if note.exists() else 'unknown'}")
    print(binary)


if __name__ == "__main__":
    main()
