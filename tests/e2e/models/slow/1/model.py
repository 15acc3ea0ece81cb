"""Sleep for as long as each request asks: latencies that a test knows."""

import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance: requests that come at once wait for one another."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Sleep, then hand the input back."""
        answers = []
        for request in requests:
            seconds = pb_utils.get_input_tensor_by_name(request, "SECONDS")
            time.sleep(float(np.from_dlpack(seconds).reshape(())))
            answers.append(
                pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("SLEPT", seconds)])
            )
        return answers
