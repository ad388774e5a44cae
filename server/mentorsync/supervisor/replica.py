"""A replica: a whole process, Envoy with the service inside, that shares its listeners' addresses with others."""

import asyncio
from collections.abc import Mapping

from mentorsync_gateway.config import Config

from mentorsync.supervisor.admin import ADMIN_FAILURES, AdminClient
from mentorsync.supervisor.envoy import Envoy, Hosted
from mentorsync.supervisor.part import Address, PartError, cause_of_end
from mentorsync.supervisor.relay import Write
from mentorsync.time_limits import MAX_FAILED_PINGS, PING_PAUSE_SECONDS, PING_SECONDS, READY_SECONDS

POLL_SECONDS = 0.02


class Replica(Envoy):
    """It is asked on its admin address, because on the shared addresses another replica may answer.

    Envoy checks the health of the service inside all the time, by a call that the service's event loop answers.
    """

    def __init__(self, config: Config, write: Write, service: Hosted) -> None:
        admin = config["admin"]["address"]["socket_address"]
        self._own_address: Address = (admin["address"], admin["port_value"])
        name = f"the replica with the admin address {self._own_address[0]}:{self._own_address[1]}"
        super().__init__(name, config, write, service)
        self._ping_client = AdminClient(self._own_address, PING_SECONDS)

    @property
    def own_addresses(self) -> Mapping[str, Address]:
        """The addresses that it does not share: "admin" and "metrics"."""
        assert self._service.metrics
        return {"admin": self._own_address, "metrics": self._service.metrics}

    async def start(self) -> None:
        """Starts Envoy, and returns once the service inside is healthy.

        Raises PartError when that takes too long, or when Envoy ends before.
        """
        await super().start()
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._wait_until_healthy()
        except BaseException as error:
            await self.kill()
            if isinstance(error, TimeoutError):
                raise PartError(f"{self.name} was not healthy within {READY_SECONDS:g} s") from error
            raise

    async def _wait_until_healthy(self) -> None:
        while not await self._is_healthy():
            if self.has_ended:
                raise PartError(f"{self.name} ended {cause_of_end(await self.wait())} before it was healthy")
            await asyncio.sleep(POLL_SECONDS)

    async def wait_until_hung(self) -> None:
        """Returns when pings have failed several times in a row."""
        failed = 0
        while failed < MAX_FAILED_PINGS:
            await asyncio.sleep(PING_PAUSE_SECONDS)
            failed = 0 if await self._answers() else failed + 1

    async def _answers(self) -> bool:
        """Whether Envoy answers, and the service answers Envoy's checks. Without a database it answers NOT_SERVING."""
        try:
            health = await self._ping_client.server_health()
        except ADMIN_FAILURES:
            return False
        return not health.get("active_hc_timeout", False)

    async def _is_healthy(self) -> bool:
        try:
            health = await self._ping_client.server_health()
        except ADMIN_FAILURES:
            return False
        return health == {"eds_health_status": "HEALTHY"}
