"""All workers, as the front has them: started, asked, replaced when they die, and stopped.

In: settings, the front's committer and its application. Out: an address where requests
are taken, and what all workers have counted, added up. Counts never go down: of a worker
that died those of its last report stay, so they are the least that it did.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from receiver.access import Access, read_rules
from receiver.admission import Admission
from receiver.allowlist import Allowlist
from receiver.arrivals import Arrivals, WorkerSeen
from receiver.commit import Committer
from receiver.listening import address_of, hold
from receiver.reception import Reception
from receiver.settings import Settings
from receiver.web import BodyLimits, Pages, Web
from receiver.workers.backstage import Backstage
from receiver.workers.link import Link
from receiver.workers.post import Post
from receiver.workers.report import Hearing
from receiver.workers.share import share_of_each, to_document
from receiver.workers.wire import Frame

if TYPE_CHECKING:
    import socket

LOOK_SECONDS = 1.0
REPORT_SECONDS = 1.0
"""How long a reader waits for the workers' counts before the last ones have to do."""
TAKE_SECONDS = 10.0
END_SECONDS = 3.0


class Crew:
    """The workers of one receiver."""

    def __init__(
        self,
        settings: Settings,
        key: str,
        committer: Committer,
        reception: Reception,
        hearing: Hearing,
    ) -> None:
        """Prepare; nothing is started yet. `reception` has the list in force, and takes nothing.

        Raises: SettingsError.
        """
        self._settings = share_of_each(settings)
        self._rules, _ = read_rules(settings.web_config_file, settings.bearer_token_file)
        self._key = key
        self._committer = committer
        self._hearing = hearing
        self._reception = reception
        self._posts = [Post(number, self._start) for number in range(1, settings.workers + 1)]
        self._tasks: list[asyncio.Task[None]] = []
        self._held: socket.socket | None = None
        self._front: Web | None = None
        self._backstage: Backstage | None = None
        self._turn = 0

    async def open(self, pages: Pages, on_trouble: Callable[[str, str, str], None]) -> str:
        """Take the port and start all; returns the address when all take requests.

        Raises: SettingsError, ReceiverError where they cannot.
        """
        self._held = hold(self._settings.listen)
        address = address_of(self._held)
        self._settings = replace(self._settings, listen=address)
        self._front = _front(self._reception, pages)
        self._front.on_trouble = on_trouble
        self._backstage = Backstage(self._front.application, self._is_ours)
        await self._backstage.open()
        self._tasks = [
            asyncio.create_task(post.keep(), name=f"worker {post.number}") for post in self._posts
        ]
        await asyncio.gather(*(post.first_ready for post in self._posts))
        self._tasks.append(asyncio.create_task(self._look(), name="look at workers"))
        return f"http{'s' if self._rules.context else ''}://{address}"

    @property
    def _allowlist(self) -> Allowlist:
        return self._reception.selection.allowlist

    def _is_ours(self, pid: int) -> bool:
        return any(post.link and post.link.pid == pid for post in self._posts)

    def _start(self, post: Post) -> Link:
        """Start a worker at a post. Raises: OSError where no process can be made."""

        def hear(report: Frame) -> None:
            post.last = self._hearing.hear(report, self._allowlist)

        post.taken = self._allowlist
        return Link(self._welcome(post), self._committer, hear)

    def _welcome(self, post: Post) -> dict[str, Any]:
        assert post.taken
        assert self._backstage
        return {
            "worker": post.number,
            "settings": to_document(self._settings),
            "key": self._key,
            "names": _names(post.taken),
            "pages": self._backstage.name,
        }

    # What is asked of all

    async def _look(self) -> None:
        """Look once a second at what flows; names are counted in a request of one worker, in turn."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._turn = (self._turn + 1) % len(self._posts)
            body = self._hearing.wants_a_body
            await self._reported(
                [
                    post.link.report(look=True, body=body and number == self._turn)
                    for number, post in enumerate(self._posts)
                    if post.link and post.is_ready
                ]
            )

    async def _reported(self, reports: list[Any]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(REPORT_SECONDS):
                await asyncio.gather(*reports, return_exceptions=True)

    async def arrivals(self) -> Arrivals:
        """Add up what all have counted, as of now."""
        await self._reported(
            [
                post.link.report(look=False, body=False)
                for post in self._posts
                if post.link and post.is_ready
            ]
        )
        return reduce(Arrivals.plus, (post.arrivals for post in self._posts))

    def seen(self) -> tuple[WorkerSeen, ...]:
        """Say who takes requests."""
        return tuple(post.seen() for post in self._posts)

    async def in_force(self) -> int:
        """Wait until each worker selects by the list in force; returns how many do not, after all."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TAKE_SECONDS):
                await asyncio.gather(*map(self._hand, self._posts), return_exceptions=True)
        return sum(post.link is not None and not self._is_up_to_date(post) for post in self._posts)

    def _is_up_to_date(self, post: Post) -> bool:
        return post.taken is self._allowlist

    async def _hand(self, post: Post) -> None:
        link, allowlist = post.link, self._allowlist
        if link and not self._is_up_to_date(post):
            await link.ask("use", names=_names(allowlist))
            if post.link is link:
                post.taken = allowlist

    # The end

    def _stop_replacing(self) -> None:
        for post in self._posts:
            post.stopping = True

    async def drain(self, seconds: float) -> None:
        """Have newcomers sent away, and wait until what is in flight is answered, at most so long."""
        self._stop_replacing()
        if self._front:
            self._front.draining = True  # so /-/ready says it
        links = [post.link for post in self._posts if post.link]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds + REPORT_SECONDS):
                drained = (link.ask("drain", seconds=seconds) for link in links)
                await asyncio.gather(*drained, return_exceptions=True)

    async def close(self) -> None:
        """End all workers, those that do not end by themselves too."""
        self._stop_replacing()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                links = [post.link for post in self._posts if post.link and post.is_ready]
                await asyncio.gather(*(link.ask("end") for link in links), return_exceptions=True)
                await asyncio.gather(*(link.ended() for link in links), return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._backstage:
            await self._backstage.close()
        if self._held:
            self._held.close()


def _front(reception: Reception, pages: Pages) -> Web:
    """Make what shows the pages to the workers, which have asked for credentials already."""
    anybody = Access("", "", asyncio.get_running_loop().time)
    return Web(reception, pages, anybody, Admission(1, 1), BodyLimits(0, 0))


def _names(allowlist: Allowlist) -> list[str]:
    return [entry.name for entry in allowlist.entries]
