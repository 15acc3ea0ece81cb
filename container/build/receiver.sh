#!/bin/sh
# The receiver itself into its virtual environment, then /out as it will be copied.
set -eu
# Every file gets this date (2020-01-01), so that equal contents are equal layers.
export SOURCE_DATE_EPOCH=1577836800
export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1

# The image has the compiled kernel, or it is not built.
export RECEIVER_KERNEL=require
cd /build/source
/build/tools/bin/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir /build/wheel .
/build/tools/bin/pip --python /opt/receiver/bin/python install --quiet --no-compile --no-index --no-deps /build/wheel/*.whl
# Where it was built tells nobody anything.
rm -f /opt/receiver/lib/python3*/site-packages/*.dist-info/direct_url.json
# Compiled by content, not by date: a read-only root file system never writes them.
/opt/receiver/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/receiver/lib

documents=/out/receiver/usr/share/doc/appinsights-receiver
mkdir -p /out/receiver/opt /out/receiver/etc/receiver /out/receiver/usr/local/bin "$documents" /out/state/var/lib/receiver
cp LICENSE /build/NOTICE "$documents/"
/build/sbom/bin/cyclonedx-py environment --output-reproducible --no-validate --sv 1.6 --output-file /build/python.cdx.json /opt/receiver/bin/python
/build/sbom/bin/python /build/sbom.py "$documents/sbom.cdx.json"
cp /build/healthcheck /opt/receiver/healthcheck
cp -a /opt/receiver /out/receiver/opt/receiver
cp receiver/config/default_metrics.json /out/receiver/etc/receiver/metrics.json
cp receiver/config/folded_metrics.json /out/receiver/etc/receiver/metrics.folded.json
ln -s /opt/receiver/bin/appinsights-receiver /out/receiver/usr/local/bin/appinsights-receiver
if [ -d /out/telemetry ]; then
    cp /out/telemetry/etc/prometheus/prometheus.yml /out/telemetry/opt/telemetry/prometheus.yml
    mkdir -p /out/state/var/lib/prometheus /out/state/run/telemetry /out/state/models
fi
# The user's; group 0 may write, for platforms that choose a user by themselves.
for folder in /out/state/var/lib/* /out/state/run/* /out/state/models; do
    [ ! -d "$folder" ] || { chown 1000:0 "$folder" && chmod 0775 "$folder"; }
done
find /out -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
