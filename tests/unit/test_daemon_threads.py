"""A call that hangs holds up no end."""

import asyncio
import subprocess
import sys
import threading

import pytest

from receiver.daemon_threads import DaemonThreads
from tests.integration.waiting import in_loop


@in_loop()
async def test_calls_give_what_they_return_or_raise() -> None:
    """As any executor's."""
    asyncio.get_running_loop().set_default_executor(DaemonThreads())
    assert await asyncio.to_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(lambda: 1 / 0)
    go = threading.Event()
    waiting = [asyncio.create_task(asyncio.to_thread(go.wait, 10)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    go.set()
    assert await asyncio.gather(*waiting) == [True] * 3


def test_a_process_ends_while_a_call_hangs() -> None:
    """Neither the loop's end nor the interpreter's waits for it."""
    code = """
import asyncio, time
from receiver.daemon_threads import DaemonThreads

async def main():
    asyncio.get_running_loop().set_default_executor(DaemonThreads())
    task = asyncio.create_task(asyncio.to_thread(time.sleep, 600))
    await asyncio.sleep(0.1)
    task.cancel()

asyncio.run(main())
print("ended")
"""
    made = subprocess.run([sys.executable, "-c", code], timeout=60, check=True, capture_output=True)
    assert made.stdout == b"ended\n"
