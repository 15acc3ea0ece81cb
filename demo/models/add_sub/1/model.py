"""Add and subtract two vectors: the model that good traffic goes to."""

import ctypes
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


def tensor(name: str, array: np.ndarray) -> Any:
    """Return `array` as an output; unlike Tensor(name, array) it is right with numpy 2 as well.

    Triton marks the capsule "used_dlpack" where numpy's destructor expects
    "used_dltensor" and fails. Triton frees the data, so nothing is left to destroy.
    """
    capsule = array.__dlpack__()
    ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
    return pb_utils.Tensor.from_dlpack(name, capsule)


class TritonPythonModel:
    """One execution answers all the requests of a dynamic batch."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with the sum and the difference of its inputs."""
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        """Return INPUT0 + INPUT1 and INPUT0 - INPUT1."""
        left = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "INPUT0"))
        right = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "INPUT1"))
        outputs = [tensor("OUTPUT0", left + right), tensor("OUTPUT1", left - right)]
        return pb_utils.InferenceResponse(outputs)
