"""A proxy whose connections a test can cut, as a phone's network does."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536


class CuttingProxy:
    """`url` is where it listens. It forwards to one address. New connections wait while the network is `away`."""

    def __init__(self, host: str, port: int) -> None:
        self.url = ""
        self._target = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_there = asyncio.Event()
        self._is_there.set()

    def cut(self) -> None:
        """Resets all connections."""
        for writer in self._writers:
            writer.transport.abort()

    @contextmanager
    def away(self) -> Iterator[None]:
        self._is_there.clear()
        self.cut()
        yield
        self._is_there.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._is_there.wait()
        target_reader, target_writer = await asyncio.open_connection(*self._target)
        pair = {writer, target_writer}
        self._writers |= pair
        await asyncio.gather(_forward(reader, target_writer), _forward(target_reader, writer))
        self._writers -= pair


@asynccontextmanager
async def cutting_proxy(url: str) -> AsyncIterator[CuttingProxy]:
    parts = urlsplit(url)
    proxy = CuttingProxy(str(parts.hostname), int(parts.port or 0))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()
