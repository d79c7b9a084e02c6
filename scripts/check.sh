#!/bin/sh
# Runs every static check, all of them even where one fails. Usage: check.sh FOLDER_OF_TOOLS [CHECK...]
# The pre-commit hooks call the same lines, one by one.
set -u
bin=$1
shift
failed=""

run() {
    case $1 in
        format) "$bin/ruff" format --check --quiet . ;;
        lint) "$bin/ruff" check --quiet . ;;
        mypy) "$bin/mypy" ;;
        pyright) PYRIGHT_PYTHON_IGNORE_WARNINGS=1 "$bin/pyright" --pythonpath "$bin/python" ;;
        imports) "$bin/lint-imports" --no-logo ;;
        house) "$bin/python" scripts/check_house.py ;;
        *) echo "no check named $1"; return 2 ;;
    esac
}

for name in ${*:-format lint mypy pyright imports house}; do
    if output=$(run "$name" 2>&1); then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n%s\n' "$name" "$output"
        failed="$failed $name"
    fi
done
[ -z "$failed" ] || { printf 'check failed:%s\n' "$failed"; exit 1; }
