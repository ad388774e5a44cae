"""Runs parts until a signal comes or one of them ends, and stops them in order."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from mentorsync_gateway.errors import GatewayError

from mentorsync.supervisor.output import Output
from mentorsync.supervisor.part import Part, PartError
from mentorsync.supervisor.stop import kill_all, stop_in_order
from mentorsync.time_limits import STOP_SECONDS

EXIT_KILLED = 1  # a part did not end in time
EXIT_REFUSED = 2  # the service could not start
EXIT_SIGNAL = 128  # plus the signal's number, as shells have it
STANDARD_INPUT = 0


class Supervisor:
    """Owns the parts, in groups. Groups start in order, and stop in reverse order."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self._groups: list[list[Part]] = []
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self.on_hangup = self._refuse_replacement  # called at SIGHUP

    async def start(self, *parts: Part) -> None:
        """Starts the parts of one group. Raises their exceptions."""
        self._groups.append([])
        for part in parts:
            self._groups[-1].append(part)
            await part.start()

    @contextmanager
    def also_running(self, part: Part) -> Iterator[None]:
        """Makes a part, which the body starts and ends, a member of the last group. A stop meanwhile ends it too.

        If the body is cancelled, the part stays a member: the stop that follows ends it.
        """
        self._groups[-1].append(part)
        yield
        self._groups[-1].remove(part)

    def discard(self) -> None:
        """Forgets the parts of a start that failed. They have ended."""
        self._groups.clear()
        self.on_hangup = self._refuse_replacement

    async def run(self, work: Callable[["Supervisor"], Awaitable[int | None]]) -> int:
        """Runs `work`, which starts parts and watches them, until SIGINT or SIGTERM. Returns the exit status.

        A second signal during the stop kills everything at once.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        loop.add_signal_handler(signal.SIGHUP, self._handle_hangup, os.isatty(STANDARD_INPUT))
        task = asyncio.ensure_future(work(self))
        first_signal = asyncio.ensure_future(self._signals.get())
        await asyncio.wait({task, first_signal}, return_when=asyncio.FIRST_COMPLETED)
        deadline = loop.time() + STOP_SECONDS
        if first_signal.done():
            self.output.say(f"{first_signal.result().name}: stopping; a second signal kills everything at once")
        status = await self._outcome(task)
        return await self._stop(deadline, first_signal) or status

    def _handle_hangup(self, had_terminal: bool) -> None:
        """SIGHUP asks for new replicas, unless the kernel sends it because the terminal has been closed."""
        if had_terminal and not os.isatty(STANDARD_INPUT):
            self._signals.put_nowait(signal.SIGHUP)
        else:
            self.on_hangup()

    def _refuse_replacement(self) -> None:
        self.output.say("SIGHUP: only replicas on PostgreSQL, without --separate, can be replaced; nothing was stopped")

    async def _outcome(self, task: asyncio.Future[int | None]) -> int:
        """Cancels the work and reports its failure. Returns the exit status."""
        task.cancel()
        try:
            return await task or 0
        except asyncio.CancelledError:
            return 0
        except PartError as error:
            if str(error):
                self.output.say(str(error))
            return error.status
        except GatewayError as error:
            self.output.say(str(error))
            return EXIT_REFUSED

    async def _stop(self, deadline: float, first_signal: asyncio.Future[signal.Signals]) -> int:
        """Stops the parts, in order, or at once after a second signal. Returns an exit status, 0 for success."""
        stopping = asyncio.ensure_future(stop_in_order(self._groups, deadline))
        forced = asyncio.ensure_future(self._second_signal(first_signal))
        await asyncio.wait({stopping, forced}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            forced.cancel()
            return self._report_killed(stopping.result())
        number = forced.result()
        self.output.say(f"{number.name}: a second signal; killing everything; calls in flight get no answer")
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            await stopping
        await kill_all(self._groups)
        return EXIT_SIGNAL + number

    async def _second_signal(self, first_signal: asyncio.Future[signal.Signals]) -> signal.Signals:
        await first_signal
        return await self._signals.get()

    def _report_killed(self, killed: list[Part]) -> int:
        for part in killed:
            self.output.say(f"{part.name} did not end in time and was killed")
        return EXIT_KILLED if killed else 0
