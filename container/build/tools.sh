#!/bin/sh
# What the build stages need (the compiler for receiver/native), and with `s6` what the image's supervisor needs.
#
# s6 is unpacked into /out/s6 and not installed: the final stage copies it, and
# Triton's own packages stay as NGC made them.
set -eu
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2016 # dpkg's variables, not ours
packages='${Package}\t${Version}\t${Architecture}\n'
dpkg-query --show --showformat="$packages" >/build/packages # before ours are added: what the image has
apt-get update
apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev python3-dev python3-pip python3-venv

if ! /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "The receiver needs Python 3.11; this base has $(/usr/bin/python3 --version)." >&2
    echo "Take a Triton of 24.11 or newer." >&2
    exit 1
fi

[ "${1:-}" = s6 ] || exit 0
# The libraries' names hold their version, so they are read from the package.
libraries=$(apt-cache depends s6 | sed -n 's/^ *Depends: \(lib\(s6\|skarnet\|execline\)[^ ]*\)$/\1/p')
mkdir -p /tmp/s6
cd /tmp/s6
# shellcheck disable=SC2086 # several words
apt-get -o APT::Sandbox::User=root download s6 execline $libraries
for package in ./*.deb; do
    dpkg-deb --show --showformat="$packages" "$package" >>/build/s6-packages
    dpkg-deb --extract "$package" /tmp/s6/root
done
mkdir -p /out/s6/usr/bin /out/s6/usr/share
cp -a root/usr/lib /out/s6/usr/lib
[ ! -d root/lib ] || cp -a root/lib/. /out/s6/usr/lib/ # where /lib is still spelt out
for program in svscan svscanctl supervise svc svstat; do
    cp -a "root/usr/bin/s6-$program" /out/s6/usr/bin/
done
for licence in root/usr/share/doc/*/copyright; do # what we ship, we say whose it is
    package=$(basename "$(dirname "$licence")")
    mkdir -p "/out/s6/usr/share/doc/$package"
    cp "$licence" "/out/s6/usr/share/doc/$package/"
done
rm -rf /tmp/s6
