#!/bin/sh
# Installs the programs that tests start and that no Python package brings: a browser for
# the pages, openssl for certificates, shellcheck for our scripts, a C compiler for
# receiver/native (one for arm64, and qemu), helm and kubectl for the manifests. Where it cannot, the tests that
# need them say so.
set -eu
PYTHON=.venv/bin/python
missing=
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
command -v shellcheck >/dev/null 2>&1 || missing="$missing shellcheck"
command -v qemu-aarch64-static >/dev/null 2>&1 || missing="$missing qemu-user-static"
command -v aarch64-linux-gnu-gcc >/dev/null 2>&1 || missing="$missing gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
# For `make fuzz`, with the sanitisers' runtime.
command -v clang >/dev/null 2>&1 || missing="$missing clang libclang-rt-dev"
kernel=yes
"$PYTHON" -c 'import receiver.kernel' 2>/dev/null || {
    kernel=
    command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
    # Debian's Python has its headers in a package of their own; others bring them along.
    headers=$("$PYTHON" -c 'import pathlib, sysconfig; print(pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())')
    [ "$headers" = True ] || missing="$missing $("$PYTHON" -c 'import sys; print("libpython%d.%d-dev" % sys.version_info[:2])')"
}
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi
    if command -v apt-get >/dev/null 2>&1 && { [ -z "$sudo" ] || command -v sudo >/dev/null 2>&1; }; then
        echo "tests: installing$missing"
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086 # names of packages, without spaces
        if $sudo apt-get update -qq >/dev/null && $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
            missing=
        fi
    fi
    [ -z "$missing" ] || echo "tests: install$missing by hand; what needs them is skipped" >&2
fi
"$PYTHON" -m tests.kubernetes_tools || echo "tests: the chart is not rendered, and kustomize not compared with it" >&2
[ -n "$kernel" ] || "$PYTHON" hatch_build.py || echo "tests: the compiled kernel is not tested" >&2
