"""Raise when asked to: the model that failing traffic goes to."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Fails the whole execution, which without batching is one request."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Hand each input back as the output, unless one of them is not 0."""
        answers = []
        for request in requests:
            asked = pb_utils.get_input_tensor_by_name(request, "FAIL")
            if np.from_dlpack(asked)[0]:
                raise RuntimeError("raiser was asked to fail")
            answers.append(
                pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("OUTPUT0", asked)])
            )
        return answers
