"""Pipes that children write to and the event loop reads."""

import asyncio
import fcntl
import os
from contextlib import ExitStack, suppress

PIPE_BYTES = 256 * 1024  # more than is written between two reads at full load, so that the child does not block


class Pipe:
    """A pipe. The child inherits `writing`; `close_writing` follows once it has started."""

    def __init__(self) -> None:
        """Raises OSError when the system refuses more descriptors."""
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        with suppress(OSError):  # over the system's limit for all pipes of a user: a pipe of the usual size works too
            fcntl.fcntl(self._reading, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def close_writing(self) -> None:
        """The pipe ends when the child has closed its own copy."""
        os.close(self.writing)

    async def read(self) -> bytes:
        """Waits for bytes and returns all that are there. Returns none at the end."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._reading, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._reading)
        return os.read(self._reading, PIPE_BYTES)

    def close(self) -> None:
        os.close(self._reading)


def open_pipe(stack: ExitStack) -> Pipe:
    """A pipe for a child that is started within the stack. Leaving the stack closes the supervisor's copy of the
    child's end. If the start failed, it closes both ends. Raises OSError.
    """
    pipe = Pipe()
    stack.callback(pipe.close_writing)

    @stack.push
    def close_if_failed(error: type[BaseException] | None, *_details: object) -> None:
        if error is not None:
            pipe.close()

    return pipe
