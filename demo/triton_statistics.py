"""Ask Triton for its own count of what it did: an oracle beside its /metrics page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritonclient.http.aio import InferenceServerClient

STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class Stage:
    """How many requests went through a stage, and how long that took in all."""

    count: int
    duration_ns: int


@dataclass(frozen=True)
class ModelStatistics:
    """The counters of one version of a model, since it was loaded."""

    model: str
    version: str
    inference_count: int
    execution_count: int
    success: Stage  # from request to answer
    fail: Stage
    queue: Stage
    compute_input: Stage
    compute_infer: Stage
    compute_output: Stage


async def statistics(url: str, model: str, version: str = "") -> ModelStatistics:
    """Return the statistics of `model`, of its only version unless one is named.

    Raises: InferenceServerException when it has no such model.
    """
    async with InferenceServerClient(url) as client:
        answer = await client.get_inference_statistics(model, version)
    (found,) = answer["model_stats"]
    return read(found)


def read(found: Mapping[str, Any]) -> ModelStatistics:
    """Read one entry of `model_stats`; Triton leaves out what is 0."""
    stages = found.get("inference_stats", {})
    return ModelStatistics(
        model=found["name"],
        version=found["version"],
        inference_count=int(found.get("inference_count", 0)),
        execution_count=int(found.get("execution_count", 0)),
        **{
            name: Stage(int(entry.get("count", 0)), int(entry.get("ns", 0)))
            for name in STAGES
            for entry in [stages.get(name, {})]
        },
    )
