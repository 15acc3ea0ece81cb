"""Threads for calls that may hang, and that nothing waits for at the end.

asyncio resolves names in threads of its executor, and a process that ends joins those: a name
server that is silent would hold up a stop for as long as the resolver is patient, half a minute.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class DaemonThreads(ThreadPoolExecutor):
    """An executor for an event loop: each call in a thread of its own, which ends with the process.

    Calls are few (a name for a new connection, a token), so threads are not kept. asyncio
    takes only a ThreadPoolExecutor; nothing but its type is used.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Start the call."""
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name=getattr(fn, "__name__", "call"), daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - its signature
        """Wait for nothing."""
