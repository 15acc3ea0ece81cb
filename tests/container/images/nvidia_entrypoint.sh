#!/bin/bash
# What NGC's entrypoint does, in short: say something, set variables, become the program.
echo '== Triton Inference Server (a stand-in of the NGC image) ==' >&2
export NVIDIA_ENTRYPOINT_WAS_HERE=1
exec "$@"
