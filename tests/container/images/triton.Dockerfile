# Stands in for nvcr.io/nvidia/tritonserver:<yy.mm>-py3, which no registry gives us here.
#
# Real: the server, its Python backend and its cache, from NVIDIA's own wheel (2.51, NGC's
# 24.10), at the places where NGC has them; the user 1000 triton-server.
# Not real: Debian 12 and Python 3.11 instead of Ubuntu 24.04 and 3.12, no CUDA libraries
# beyond the wheel's, none of the other backends, and a short entrypoint.
ARG ROOT
FROM ${ROOT}
RUN apt-get update \
 && apt-get install --yes --no-install-recommends curl libpython3.11 python3 python3-pip unzip \
 && rm -rf /var/lib/apt/lists/*
COPY triton-requirements.txt /tmp/
RUN cd /tmp \
 && pip download --quiet --no-deps --only-binary :all: --require-hashes --requirement triton-requirements.txt --dest wheels \
 && pip install --quiet --no-index --no-deps --break-system-packages wheels/numpy-*.whl \
 && unzip -q wheels/nvidia_pytriton-*.whl 'pytriton/tritonserver/*' 'nvidia_pytriton.libs/*' -d /opt \
 && cd /opt/pytriton/tritonserver \
 && mv python_backend_stubs/3.11/triton_python_backend_stub backends/python/ \
 && chmod 755 bin/tritonserver backends/python/triton_python_backend_stub \
 && rm -rf python_backend_stubs /tmp/wheels \
 && ln -s /opt/pytriton/tritonserver /opt/tritonserver \
 && useradd --uid 1000 --user-group --create-home triton-server
COPY nvidia_entrypoint.sh /opt/nvidia/nvidia_entrypoint.sh
ENV PATH=/opt/tritonserver/bin:$PATH TRITON_SERVER_VERSION=2.51.0 TRITON_SERVER_USER=triton-server
WORKDIR /opt/tritonserver
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh"]
