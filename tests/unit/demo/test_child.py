"""A child leaves nobody behind, and what an error quotes of its log helps whoever reads it."""

import asyncio
import os
from pathlib import Path

from demo.child import Child, ChildFailed, last_lines
from demo.triton import NOISE


def test_an_error_quotes_what_triton_said_of_its_own_end(tmp_path: Path) -> None:
    """Not the tables and notes that it always prints."""
    log = tmp_path / "triton.log"
    log.write_text(
        'E1123 00:07:19.196105 9901 server.cc:241] "CudaDriverHelper has not been initialized."\n'
        "E1123 00:07:19.197095 9901 model_lifecycle.cc:642] \"failed to load 'x' version 1\"\n"
        "+-------+\n| Model |\n+-------+\n\n"
        'I1123 00:07:19.197593 9901 server.cc:305] "Waiting for in-flight requests."\n'
        "error: creating server: Internal - failed to load all models\n"
    )

    assert str(ChildFailed("Triton", "ended with status 1", log, NOISE)) == (
        f"Triton ended with status 1. Its last lines, of {log}:\n"
        "  E1123 00:07:19.197095 9901 model_lifecycle.cc:642] \"failed to load 'x' version 1\"\n"
        "  error: creating server: Internal - failed to load all models"
    )


def test_a_log_of_noise_alone_is_quoted_all_the_same(tmp_path: Path) -> None:
    """Better than nothing."""
    log = tmp_path / "triton.log"
    log.write_text('I1123 00:07:19.197593 9901 server.cc:305] "Waiting."\n')

    assert "Waiting." in last_lines(log, noise=NOISE)


def test_a_missing_or_empty_log_is_said(tmp_path: Path) -> None:
    """No traceback from the error's own message."""
    (tmp_path / "empty").touch()

    assert last_lines(tmp_path / "none") == f"It wrote no log ({tmp_path / 'none'})."
    assert last_lines(tmp_path / "empty") == f"It wrote nothing to {tmp_path / 'empty'}."


def is_alive(pid: int) -> bool:
    """Say whether a process is there, and more than its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_children_of_a_child_that_crashed_are_ended(tmp_path: Path) -> None:
    """Triton starts a process for each model; after a crash nobody else would end them."""
    log = tmp_path / "log"

    async def run() -> None:
        command = ["sh", "-c", "sleep 1000 & echo $!; kill -9 $$"]
        child = await Child.start("It", command, log=log, environment=os.environ)
        await child.process.wait()
        grandchild = int(last_lines(log, 1).split()[-1])
        assert is_alive(grandchild)

        await child.kill()

        async with asyncio.timeout(10):
            while is_alive(grandchild):
                await asyncio.sleep(0.01)

    asyncio.run(run())
