"""What `make run` reads from other programs' output, and what it makes of it."""

from pathlib import Path

from demo.backend_python import BackendPython
from demo.pip import reason
from demo.triton_statistics import Stage, read
from demo.triton_wheel import _wanted


def test_the_reason_is_pips_first_error() -> None:
    """Its warnings, and the errors that follow from the first, say nothing new."""
    stderr = "WARNING: retrying\nERROR: Could not find a version of x.\nERROR: No match\n"

    assert reason(stderr) == "Could not find a version of x"
    assert reason("Killed\n") == "Killed"
    assert reason("") == "pip gave no reason"


def test_only_the_server_and_one_stub_are_unpacked() -> None:
    """Python 3.13's libpython, a fifth of the whole, is for its own stub only."""
    tree = "pytriton/tritonserver"
    names = [
        "pytriton/client/client.py",
        f"{tree}/bin/tritonserver",
        f"{tree}/backends/python/libtriton_python.so",
        f"{tree}/python_backend_stubs/3.11/triton_python_backend_stub",
        f"{tree}/python_backend_stubs/3.13/triton_python_backend_stub",
        "nvidia_pytriton.libs/libpython3-419a3a08.13.so.1.0",
        "nvidia_pytriton.libs/libtritonserver-717102f0.so",
    ]

    assert set(names) - set(_wanted(names, 11)) == {names[0], names[4], names[5]}
    assert set(names) - set(_wanted(names, 13)) == {names[0], names[3]}


def test_a_python_of_one_piece_needs_its_own_libpython() -> None:
    """The one that the wheel brings for 3.13 has no math; Debian 13 has no file of it either."""
    python = Path("/usr/bin/python3.13")
    lib = Path("/lib")

    assert not BackendPython(python, 13, None, has_modules_inside=True).can_run_stub
    assert BackendPython(python, 13, None, has_modules_inside=False).can_run_stub
    assert not BackendPython(python, 11, None, has_modules_inside=False).can_run_stub
    assert BackendPython(python, 13, lib).can_run_stub
    assert BackendPython(python, 13, lib).libpython == lib / "libpython3.13.so.1.0"


def test_statistics_that_triton_leaves_out_are_0() -> None:
    """Its JSON has no entry for what has not happened yet; 64-bit numbers may be strings."""
    stats = {
        "name": "raiser",
        "version": "1",
        "execution_count": "14",
        "inference_stats": {"fail": {"count": 14, "ns": 8}, "success": {}},
    }

    found = read(stats)

    assert (found.execution_count, found.inference_count) == (14, 0)
    assert (found.fail, found.success, found.queue) == (Stage(14, 8), Stage(0, 0), Stage(0, 0))
