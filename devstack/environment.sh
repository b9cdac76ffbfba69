#!/bin/sh
# Makes .venv with exactly the versions of constraints.txt. Called by the Makefile when one of the inputs changed.
# Guarantees: .venv/.installed is newer than its inputs only if everything in them is installed.
set -eu
cd "$(dirname "$0")/.."

SYSTEM_PYTHON=/usr/bin/python3
LOG=.venv/install.log
PACKAGES='.[dev]'

fail() {
    printf 'make: %s\n' "$1" >&2
    exit 1
}

# The distribution's own comes first: it was optimised with a profile, and what a version manager compiles, as a rule, was
# not; gateway and worker then take some 10 % more CPU time.
# A version manager may put names on PATH for versions that are not active: only an answer counts.
find_python() {
    if "$SYSTEM_PYTHON" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$SYSTEM_PYTHON"
        return
    fi
    for python in python3.13 python3.12 python3.11 python3 python; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
}

make_venv() {
    python=$(find_python)
    [ -n "$python" ] || fail "Python 3.11 or newer is needed; none of python3.13, python3.12, python3.11, python3 is one"
    if command -v uv >/dev/null && uv venv --quiet --python "$python" .venv 2>/dev/null; then
        return
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv: install it (Debian, Ubuntu: apt install python3-venv) or uv"
    "$python" -m venv .venv >/dev/null || fail "$python -m venv: .venv could not be made in $PWD: may you write there?"
}

with_uv() {
    # Without a certificate variable uv trusts only its own list, which fails behind a company's proxy.
    if [ -z "${SSL_CERT_FILE:-}${SSL_CERT_DIR:-}${UV_SYSTEM_CERTS:-}" ]; then
        export UV_SYSTEM_CERTS=1
    fi
    uv pip install --python .venv/bin/python -c constraints.txt -e "$PACKAGES"
}

with_pip() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip
    .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e "$PACKAGES"
}

install() {
    if command -v uv >/dev/null; then
        with_uv && return
        echo 'uv failed; once more with pip'
    fi
    with_pip
}

# Runs a command with its output in the log; shows the last line of it, in place on a terminal, else now and then.
shown() {
    : >"$LOG" # there before the first look at it
    "$@" >"$LOG" 2>&1 </dev/null &
    child=$!
    # Its own children first: killed, a shell takes nobody along.
    trap 'pkill -P "$child" 2>/dev/null || :; kill "$child" 2>/dev/null || :; echo; exit 130' INT TERM HUP
    ticks=0
    while kill -0 "$child" 2>/dev/null; do
        line=$(grep -v '^WARNING' "$LOG" | tail -n 1 | cut -c 1-70)
        if [ -t 1 ]; then
            printf '\r\033[K  · installing … %s' "$line"
        elif [ $((ticks % 25)) -eq 24 ]; then
            printf '  · installing … %s\n' "$line"
        fi
        ticks=$((ticks + 1))
        sleep 0.2
    done
    [ ! -t 1 ] || printf '\r\033[K'
    trap - INT TERM HUP
    wait "$child"
}

# Two terminals may start at once in a fresh clone: the second waits, and then finds nothing to do.
if command -v flock >/dev/null; then
    exec 9<pyproject.toml
    flock 9
    if [ -e .venv/.installed ] && [ -z "$(find pyproject.toml constraints.txt -newer .venv/.installed)" ]; then
        exit 0
    fi
fi

if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    rm -rf .venv # missing, or made for a Python that is gone
    make_venv
fi
echo "  · installing into .venv with $(.venv/bin/python --version) (the first time takes a moment)"
if ! shown install; then
    tail -n 15 "$LOG" >&2
    fail "installing failed; the whole log is in $LOG"
fi
touch .venv/.installed
echo '  ✓ installed'
