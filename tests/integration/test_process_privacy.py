"""What a receiver's process keeps from others on its machine."""

import resource
import stat
import subprocess
import sys
from pathlib import Path

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess
from tests.integration.waiting import in_loop


@in_loop()
async def test_files_memory_and_environment_are_its_own(tmp_path: Path) -> None:
    """Whatever umask it was started with: the outbox is the owner's, and there is no core."""
    prefix = ["sh", "-c", 'umask 000; ulimit -c unlimited; exec "$@"', "sh"]
    async with (
        serve(Sandbox()) as server,
        ReceiverProcess(tmp_path, server.connection_string, prefix=prefix) as receiver,
    ):
        for path in (receiver.outbox, *receiver.outbox.iterdir()):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        pid = receiver.running.process.pid
        assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0


def test_memory_is_closed_to_others() -> None:
    """A process of the same user cannot read its environment: it is not dumpable."""
    get_dumpable = 3
    program = f"""
import ctypes
from receiver.process_privacy import keep_private
keep_private()
print(ctypes.CDLL(None).prctl({get_dumpable}, 0, 0, 0, 0))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"
