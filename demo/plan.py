"""Read what whoever typed `make run` asked for, from the environment.

In: environment variables. Out: a frozen plan, checked. Starts nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.parts import REPOSITORY, parts_dir
from demo.ports import Ports, ports_from

MODELS = REPOSITORY / "demo/models"
METRICS_JSON = REPOSITORY / "demo/metrics.json"
DESTINATIONS = ("APPLICATIONINSIGHTS_CONNECTION_STRING", "INSTRUMENTATION_KEY")


class BadPlan(Exception):
    """What was asked for cannot be run; the message says why."""


@dataclass(frozen=True)
class Plan:
    """One run."""

    ports: Ports
    models: Path
    parts: Path
    destination: str | None  # the variable that names the real service; None: the sandbox
    metrics_json: Path | None  # None: the receiver has its own from the environment
    outbox: Path | None  # None: likewise

    @property
    def sends_load(self) -> bool:
        """Whether we know what the models take."""
        return self.models == MODELS

    @property
    def folder(self) -> Path:
        """Where this run keeps its logs and data; runs side by side have different ports."""
        return self.parts / f"run-{self.ports.receiver}"


def plan_from(environ: Mapping[str, str]) -> Plan:
    """Return the plan that the environment describes.

    Raises: BadPlan, BadPorts.
    """
    ports = ports_from(environ)
    destination = next((name for name in DESTINATIONS if environ.get(name, "").strip()), None)
    plan = Plan(
        ports=ports,
        models=_models(environ.get("MODELS", "").strip()),
        parts=parts_dir(environ),
        destination=destination,
        metrics_json=None if environ.get("RECEIVER_METRICS_JSON") else METRICS_JSON,
        outbox=None,
    )
    if environ.get("RECEIVER_OUTBOX_DIR"):
        return plan
    # What is for the real service must outlive this run; the sandbox forgets, too.
    name = "outbox" if destination else "sandbox-outbox"
    return Plan(**{**plan.__dict__, "outbox": plan.folder / name})


def _models(text: str) -> Path:
    if not text:
        return MODELS
    models = Path(text).expanduser().absolute()
    if not models.is_dir():
        raise BadPlan(
            f"MODELS={text} is not a folder. Name the one that holds your models' folders."
        )
    if (models / "config.pbtxt").exists():
        raise BadPlan(
            f"MODELS={text} is one model. Name the folder that holds it: MODELS={models.parent}"
        )
    if not any(path.is_dir() for path in models.glob("*/*")):
        raise BadPlan(
            f"MODELS={text} holds no model: Triton looks for folders like "
            f"{text.rstrip('/')}/my_model/1/model.py."
        )
    return models
