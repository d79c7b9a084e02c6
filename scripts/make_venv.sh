#!/bin/sh
# Makes the virtual environment FOLDER and installs handrail (editable) with what SET needs: demo, test or dev.
# Usage: make_venv.sh FOLDER SET        (PYTHON names the interpreter; otherwise the first fitting one on PATH)
set -eu
venv=$1
set_of=$2

say() { printf 'handrail: %s\n' "$*"; }

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    # a name on PATH may be a version manager's shim that does not run: try it, do not trust it
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    say "no Python >= 3.11 with the venv module found (tried: ${PYTHON:-python3 python3.11 to python3.14, python})." >&2
    say "Install one (Debian, Ubuntu: apt install python3-venv), or name it: make PYTHON=/path/to/python3.11" >&2
    exit 1
}

began=$(date +%s)
if ! fits "$venv/bin/python"; then
    python=$(find_python)
    say "making $venv with $("$python" --version) ($python)"
    "$python" -m venv --clear "$venv"
fi
"$venv/bin/python" -c 'import pip' 2>/dev/null || "$venv/bin/python" -m ensurepip >/dev/null # cut off, or made by uv

pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check --no-input "$@"; }

say "installing what '$set_of' needs into $venv (one to two minutes the first time)"
pip install --upgrade 'pip>=25.1' # dependency groups came with 25.1
case $set_of in
    demo) pip install --editable '.[demo]' ;;
    *) pip install --editable . --group "$set_of" ;;
esac
touch "$venv/.ready-demo"
case $set_of in test | dev) touch "$venv/.ready-test" ;; esac
case $set_of in dev) touch "$venv/.ready-dev" ;; esac
say "ready after $(($(date +%s) - began)) s"
