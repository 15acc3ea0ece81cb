#!/bin/sh
# Makes .venv from requirements-dev.lock. On Debian and its kin it installs the
# python3-venv package first where that is missing.
set -eu
PYTHON=${PYTHON:-python3}

fail() {
    echo "setup: $1" >&2
    exit 1
}

command -v "$PYTHON" >/dev/null 2>&1 ||
    fail "there is no $PYTHON; install Python 3.11 or newer, or name one: make setup PYTHON=python3.12"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$PYTHON" --version) is too old; install Python 3.11 or newer, or name one: make setup PYTHON=python3.12"

if ! "$PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    package=$("$PYTHON" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    command -v apt-get >/dev/null 2>&1 ||
        fail "$PYTHON cannot make virtual environments; install your system's package for its venv module"
    echo "setup: installing $package"
    if [ "$(id -u)" = 0 ]; then sudo=; else
        command -v sudo >/dev/null 2>&1 || fail "become root, and run: apt-get install $package"
        sudo=sudo
    fi
    ($sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package") >/dev/null ||
        fail "apt-get cannot install $package; install it by hand and run this again"
fi

[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
echo "setup: installing the locked packages into .venv"
# The lock names everything, so pip need not resolve it again; what is not imported is not compiled.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements-dev.lock ||
    fail "pip cannot install the packages; is PyPI reachable? Behind a proxy set HTTPS_PROXY"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ||
    fail "pip cannot install this project into .venv"
touch .venv/ready
