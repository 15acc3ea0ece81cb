"""Read Triton's flags, and write down what the services have to know of them.

In: the flags given to the container, and its environment. Out, in the state's folder:
`arguments` (the flags, quoted for sh), `repository` (where the flags name none),
`triton.json` (where Triton answers; for healthcheck and stop.py), `instance` (the role
instance, where the host's name is a container's id), and `prometheus/prometheus.yml`,
the shipped one with this Triton's port.

A flag that cannot be read is Triton's to refuse: here it counts as not given.

Standard library only. Source: `tritonserver --help`; getopt_long(3).
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path("/opt/telemetry")
CONFIG = Path("/etc/prometheus/prometheus.yml")
OUTBOX = Path("/var/lib/receiver")
WITHOUT_VALUE = {"--help", "--disable-auto-complete-config"}
"""Triton's only flags that take no value; for every other one the next word is its value."""
CONTAINER_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Triton:
    """Where Triton answers, as far as its flags say."""

    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    http_address: str = ""
    metrics_address: str = ""
    allow_http: bool = True
    allow_metrics: bool = True
    repository: str = ""


_NAMES = {
    **{f"--{name.replace('_', '-')}": name for name in Triton.__dataclass_fields__},
    "--model-repository": "repository",
    "--model-store": "repository",
}


def read(words: Sequence[str]) -> Triton:
    """Read the flags, `--name value` and `--name=value`; of a repeated one the last counts."""
    values: dict[str, object] = {}
    waiting = iter(words)
    for word in waiting:
        flag, equals, value = word.partition("=")
        if not flag.startswith("--"):
            continue
        if not equals and flag not in WITHOUT_VALUE:
            value = next(waiting, "")
        name = _NAMES.get(_full(flag), "")
        if name.endswith("_port"):
            if value.isdecimal() and 0 < int(value) < 1 << 16:
                values[name] = int(value)
        elif name.startswith("allow_"):
            values[name] = value.lower() not in {"0", "false", "off", "no"}
        elif name:
            values[name] = value
    return Triton(**values)  # type: ignore[arg-type]


def _full(flag: str) -> str:
    """Complete a flag's beginning, as getopt does, where it begins one of ours alone."""
    if flag in _NAMES or len(flag) < len("--http-p"):
        return flag
    begun = {name for name in _NAMES if name.startswith(flag)}
    return begun.pop() if len(begun) == 1 else flag


def repository(triton: Triton, environment: Mapping[str, str]) -> Path:
    """Find the models: as the flags say, as Azure ML says, or /models."""
    if triton.repository:
        return Path(triton.repository)
    registered = environment.get("AZUREML_MODEL_DIR")
    if not registered:
        return Path("/models")
    # Azure ML names the folder of the registered model; the repository may lie in it.
    for name in ("models", "triton", "model_repository"):
        inner = Path(registered, name)
        is_a_model = (inner / "config.pbtxt").exists() or (inner / "1").is_dir()
        if inner.is_dir() and not is_a_model:
            return inner
    return Path(registered)


def prometheus_config(text: str, triton: Triton, environment: Mapping[str, str]) -> str:
    """Return the shipped configuration for this Triton and this receiver.

    Without a destination nobody listens, and Prometheus is not told to write.
    """
    host = reached(triton.metrics_address or triton.http_address)
    text = text.replace("localhost:8002", f"{host}:{triton.metrics_port}")
    if not sends(environment):
        return re.sub(r"(?m)^remote_write:.*\n(?:[ \t#].*\n|\n)*", "", text)
    host, colon, port = environment.get("RECEIVER_LISTEN", "").strip().rpartition(":")
    if colon and port.isdecimal():
        text = text.replace("localhost:9201", f"{reached(host)}:{port}")
    if token := environment.get("RECEIVER_BEARER_TOKEN_FILE"):
        lines = f"    authorization:\n      credentials_file: {json.dumps(token)}\n"
        text = re.sub(r"(?m)^    url: .*\n", lambda url: url[0] + lines, text, count=1)
    return text


def reached(address: str) -> str:
    """Say how an address that is listened on is reached from within the container."""
    return "localhost" if address in {"", "0.0.0.0", "::", "[::]"} else address  # noqa: S104 - read, not bound


def sends(environment: Mapping[str, str]) -> bool:
    """Whether a destination is set."""
    names = ("APPLICATIONINSIGHTS_CONNECTION_STRING", "INSTRUMENTATION_KEY")
    return any(environment.get(name + suffix) for name in names for suffix in ("", "_FILE"))


def instance(hostname: str, outbox: Path) -> str:
    """Name this container where its host's name is but its id: by the first id on its outbox.

    A new container on the same volume keeps the name, and no two volumes share one.
    """
    if not CONTAINER_ID.fullmatch(hostname):
        return ""
    kept = outbox / "instance"
    try:
        if known := kept.read_text(encoding="utf-8").strip():
            return known
    except (OSError, UnicodeDecodeError):
        pass
    with suppress(OSError):  # a full or read-only disk is the receiver's to report
        kept.write_text(f"{hostname}\n", encoding="utf-8")
    return hostname


def main(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Write everything down, and say what is not as usual."""
    state = Path(environment["TELEMETRY_STATE"])
    triton = read(words)
    (state / "arguments").write_text(" ".join(map(shlex.quote, words)) + "\n")
    (state / "triton.json").write_text(json.dumps(asdict(triton)))
    models = repository(triton, environment)
    if not triton.repository:
        (state / "repository").write_text(f"{models}\n")
    say(f"Triton serves the models in {models}")
    if models.is_dir() and not any(each.is_dir() for each in models.iterdir()):
        say(f"there is no model in {models}: Triton will be ready with none, and only nv_cpu_* has values. Mount yours with -v \"$PWD/models:/models\"; this project's demo/models are made to try with")  # fmt: skip
    if not triton.allow_metrics:
        say("--allow-metrics=false: Triton shows no metrics, so there is nothing to send")
    _write_prometheus(state / "prometheus", triton, environment)
    chosen = any(
        environment.get(f"RECEIVER_{each}") for each in ("CLOUD_ROLE_INSTANCE", "HOST_NAME")
    )
    if not chosen and (name := instance(os.uname().nodename, OUTBOX)):
        (state / "instance").write_text(f"{name}\n")
        if sends(environment):
            say(f"cloud_RoleInstance is {name}, as long as /var/lib/receiver is the same volume. Start the container with --hostname NAME, or --env RECEIVER_HOST_NAME=NAME, for one that you choose")  # fmt: skip
    if not sends(environment):
        (state / "services/receiver/down").touch()
        say("NOTHING IS SENT to Application Insights: no destination is set. Triton and Prometheus run all the same. To send, start the container with --env APPLICATIONINSIGHTS_CONNECTION_STRING='InstrumentationKey=...;IngestionEndpoint=...' (Azure portal, your Application Insights resource, Overview) or --env INSTRUMENTATION_KEY=...")  # fmt: skip


def _write_prometheus(folder: Path, triton: Triton, environment: Mapping[str, str]) -> None:
    """Put our own configuration in its place; the user's own stays as it is."""
    shipped = (HERE / "prometheus.yml").read_text()
    try:
        mounted = CONFIG.read_text(errors="replace")
    except OSError as error:
        say(f"{CONFIG}: {error.strerror}: Prometheus will not start")
        return
    if mounted != shipped:
        if f":{triton.metrics_port}" not in mounted:
            say(f"Triton's metrics are at port {triton.metrics_port}, which {CONFIG} does not name")
        return
    ours = folder / "prometheus.yml"
    ours.unlink(missing_ok=True)
    ours.write_text(prometheus_config(shipped, triton, environment))


def say(what: str) -> None:
    """Tell it to whoever reads the container's log."""
    print(f"container: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
