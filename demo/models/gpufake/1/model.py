"""Publish the metrics of a GPU that is not there, so that their path can be shown and tested.

Names, kinds, help and label are those of Triton's own GPU metrics; the UUID of
zeros says that no GPU has been measured.
"""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

LABELS = {"gpu_uuid": "GPU-00000000-0000-0000-0000-000000000000"}
GAUGES = {
    "nv_gpu_utilization": "GPU utilization rate [0.0 - 1.0)",
    "nv_gpu_memory_total_bytes": "GPU total memory, in bytes",
    "nv_gpu_memory_used_bytes": "GPU used memory, in bytes",
    "nv_gpu_power_usage": "GPU power usage in watts",
    "nv_gpu_power_limit": "GPU power management limit in watts",
}
ENERGY = (
    "nv_energy_consumption",
    "GPU energy consumption in joules since the Triton Server started",
)
IDLE = (0.0, 16 * 2**30, 2**30, 30.0, 300.0, 0.0)


class TritonPythonModel:
    """Keeps the families alive: a metric that is dropped vanishes from the page."""

    def initialize(self, _args: Any) -> None:
        """Publish an idle GPU."""
        self.families = []
        self.gauges = [
            self.metric(name, text, pb_utils.MetricFamily.GAUGE) for name, text in GAUGES.items()
        ]
        self.energy = self.metric(*ENERGY, pb_utils.MetricFamily.COUNTER)
        self.joules = 0.0
        self.publish(IDLE)

    def metric(self, name: str, description: str, kind: Any) -> Any:
        """Register one family with its only series."""
        family = pb_utils.MetricFamily(name=name, description=description, kind=kind)
        self.families.append(family)
        return family.Metric(labels=LABELS)

    def publish(self, values: Any) -> None:
        """Set all six; a counter can only be increased to its new value."""
        increase = float(values[-1]) - self.joules
        if increase < 0:  # asked for that, the server itself may crash
            raise ValueError(f"the energy can't go down, it is at {self.joules:.0f} J")
        for gauge, value in zip(self.gauges, values[:-1], strict=True):
            gauge.set(float(value))
        self.energy.increment(increase)
        self.joules += increase

    def execute(self, requests: list[Any]) -> list[Any]:
        """Publish the values of each request and hand them back."""
        answers = []
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "VALUES")
            self.publish(np.from_dlpack(values))
            answers.append(
                pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("PUBLISHED", values)])
            )
        return answers

    def finalize(self) -> None:
        """Take the series off the page while the server still can."""
        del self.gauges, self.energy, self.families
