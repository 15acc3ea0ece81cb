#!/bin/sh
# The receiver's virtual environment with what it depends on, from the lock file.
#
# It lives in /opt/receiver of the final image, where its scripts say it is, and
# uses the system's Python without adding anything to it.
set -eu
# pip imports what it finds in an environment (attr, say), and would leave it compiled by date.
export PYTHONDONTWRITEBYTECODE=1
/usr/bin/python3 -m venv --without-pip /opt/receiver
/usr/bin/python3 -m venv /build/tools
/build/tools/bin/pip install --quiet --no-cache-dir --require-hashes --requirement /build/requirements-build.lock
/usr/bin/python3 -m venv /build/sbom
/build/sbom/bin/pip install --quiet --no-cache-dir --only-binary :all: --require-hashes --requirement /build/requirements-sbom.lock
/build/tools/bin/pip --python /opt/receiver/bin/python install --quiet --no-cache-dir \
    --no-compile --only-binary :all: --require-hashes --requirement /build/requirements-receiver.lock
