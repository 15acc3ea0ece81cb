"""What an error quotes of a child's log helps whoever reads it."""

from pathlib import Path

from demo.child import ChildFailed, last_lines
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
