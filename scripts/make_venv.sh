#!/usr/bin/env bash
# Create a virtual environment with pip in it: scripts/make_venv.sh DIRECTORY. PYTHON names the interpreter.
set -euo pipefail

venv=$1
python=${PYTHON:-python3}

fail() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "$python was not found: install Python 3.10 or newer, or say which one with PYTHON=..."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$python is Python $version; llamahttp needs 3.10 or newer (make PYTHON=python3.12 ... chooses another one)"

echo "Creating $venv with Python $version"
if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv --clear "$venv"
elif "$python" -m pip --version >/dev/null 2>&1; then
    # Debian splits ensurepip off; a pip outside can put one inside.
    "$python" -m venv --clear --without-pip "$venv"
    inside=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$python" -m pip install --quiet --disable-pip-version-check --target "$inside" pip
else
    fail "$python has neither ensurepip nor pip: install one of them (Debian, Ubuntu: python3-venv)"
fi
