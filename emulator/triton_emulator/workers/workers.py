"""The parent of several workers: it starts them, adds up what they count, starts them again, and ends them.

In the foreground (`cli.foreground`) it takes the place of a `Server`.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

from triton_emulator.frontends.http.server import HttpServer
from triton_emulator.frontends.metrics.readings import Readings
from triton_emulator.protocol.errors import unavailable
from triton_emulator.server import Address, PortInUse, StartupError, State, has_grpc
from triton_emulator.server.sockets import Sockets
from triton_emulator.session.state import SessionState
from triton_emulator.session.statistics import Statistics
from triton_emulator.settings import Settings
from triton_emulator.workers.counted import Counted, total
from triton_emulator.workers.line import Failed, Gone
from triton_emulator.workers.metrics import WorkersMetrics
from triton_emulator.workers.process import Worker
from triton_emulator.workers.spreading import Spreader
from triton_emulator.workers.worker import Loaded

_LOG = logging.getLogger(__name__)

#: Seconds until a worker that has ended is started again: the first time, the second time, and so on. The last is for
#: all later times. A worker that has lasted for `_LASTS_SECONDS` begins anew.
PAUSES = (0, 1, 2, 5, 10, 30, 60)
_LASTS_SECONDS = 60
#: seconds that a worker has to say what it has counted
_COUNT_SECONDS = 10
#: seconds beyond the exit timeout after which a worker is killed
_LATE_SECONDS = 10


class Workers:
    """Several processes that serve the same models on the same ports.

    `http_address`, `grpc_address` and `metrics_address` are None until the listener listens, and for one that is turned
    off.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.NEW
        #: of a `Server`: its sessions are in the workers
        self.root: SessionState | None = None
        self.http_address: Address | None = None
        self.grpc_address: Address | None = None
        self.metrics_address: Address | None = None
        self.control_address: Address | None = None
        self._sockets = Sockets()
        #: by their numbers; None while one is started again
        self._workers: list[Worker | None] = []
        #: what workers had counted that have ended
        self._before = Counted()
        #: what a worker is to load
        self._models = ""
        self._spreader: Spreader | None = None
        self._metrics: HttpServer[WorkersMetrics] | None = None
        self._keepers: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Workers {self.state.value}, serving: {len(self._serving())} of {self.settings.workers}>"

    @property
    def pids(self) -> list[int]:
        """The ids of the workers' processes."""
        return [worker.pid for worker in self._workers if worker is not None]

    async def start(self) -> None:
        """Bind, let all workers load the models, listen. Raises PortInUse and StartupError."""
        self.state = State.STARTING
        settings = self.settings
        self._sockets = sockets = Sockets.bind(settings, grpc=settings.allow_grpc and has_grpc())
        try:
            if sockets.grpc is not None:
                self.grpc_address = settings.grpc_address, sockets.share_grpc(settings)
            workers = []
            for number in range(1, settings.workers + 1):
                workers.append(await self._new(number))
                self._workers.append(workers[-1])
            loaded = await asyncio.gather(*map(self._load, workers))
            self._judge(loaded)
            failures = [failure for failure in await asyncio.gather(*map(self._listen, workers)) if failure]
            if failures:
                raise PortInUse(failures[0])
            await self._listen_here()
        except BaseException:
            await self._abandon()
            raise
        self._keepers = [asyncio.create_task(self._keep(worker)) for worker in workers]
        self.state = State.SERVING
        listed = ", ".join(map(str, self.pids))
        _LOG.info("Started %d workers, which are the processes %s", settings.workers, listed)

    async def close(self, *, drain: bool = False) -> bool:
        """Finish the requests in flight and end all workers. Returns False if the exit timeout was too short.

        `drain`: meanwhile serve HTTP as the version does, where connections would be closed at once.
        """
        self.state = State.STOPPING
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        workers = [worker for worker in self._workers if worker is not None]
        most = self.settings.exit_timeout_secs + _LATE_SECONDS
        if drain:
            await asyncio.gather(*(worker.drain(most, speaks=at == 0) for at, worker in enumerate(workers)))
        ended = await asyncio.gather(*(worker.close(most) for worker in workers))
        if self._spreader is not None:
            self._spreader.close()
        if self._metrics is not None:
            await self._metrics.close(0)
        self._sockets.close()
        self.state = State.STOPPED
        return all(ended)

    # --- the start ---

    async def _new(self, number: int) -> Worker:
        return await Worker.start(number, {"totals": self._totals})

    async def _load(self, worker: Worker, *, again: bool = False) -> Loaded:
        """Let a worker load. Raises StartupError where it ends meanwhile."""
        settings = replace(self.settings, allow_grpc=self.grpc_address is not None)
        if self.grpc_address is not None:
            settings = replace(settings, grpc_port=self.grpc_address[1], reuse_grpc_port=True)
        try:
            return await worker.load(settings, speaks=worker.number == 1 and not again)
        except Gone:
            raise StartupError(f"worker {worker} {await worker.end()} while it loaded its models") from None

    @staticmethod
    async def _listen(worker: Worker) -> str:
        """Let a worker listen; returns why a port cannot be had, "" where it can. Raises StartupError."""
        try:
            return await worker.listen()
        except Failed as fault:
            raise StartupError(str(fault)) from None
        except Gone:
            raise StartupError(f"worker {worker} {await worker.end()} before it listened") from None

    def _judge(self, loaded: Sequence[Loaded]) -> None:
        """Raise StartupError where a worker cannot start, or has other models than another one."""
        for each in loaded:
            if each.failure:
                raise StartupError(each.failure)
        if len({each.models for each in loaded}) > 1:
            raise StartupError("the model repository has changed while the workers loaded it; start again")
        self._models = loaded[0].models

    async def _listen_here(self) -> None:
        """Accept connections, and serve the metrics."""
        sockets = self._sockets
        if sockets.http is not None:
            self.http_address = sockets.http.getsockname()[:2]
            self._spreader = Spreader(sockets.http, self._serving)
            try:
                self._spreader.start()
            except OSError as fault:
                raise PortInUse(
                    f"failed to start HTTP service: {fault.strerror}; choose another port with --http-port"
                ) from None
        if sockets.metrics is not None:
            self.metrics_address = sockets.metrics.getsockname()[:2]
            self._metrics = HttpServer(WorkersMetrics(self.settings, self._readings), sockets.metrics)
            await self._metrics.start()

    async def _abandon(self) -> None:
        """End what has been started."""
        if self._spreader is not None:
            self._spreader.close()
        self._sockets.close()
        workers = [worker for worker in self._workers if worker is not None]
        for worker in workers:
            worker.kill()
        for worker in workers:
            await worker.end()
        self._workers = []

    # --- what they count ---

    def _serving(self) -> list[Worker]:
        return [worker for worker in self._workers if worker is not None and worker.serves]

    async def _count(self) -> Counted:
        """The sum of what all workers have counted until now. Raises UNAVAILABLE where one of them is silent."""
        await asyncio.gather(*(_ask(worker) for worker in self._workers if worker is not None))
        # those that have ended meanwhile are in `_before`, with what they had counted when they were last asked
        return total([self._before, *(worker.counted for worker in self._workers if worker is not None)])

    async def _totals(self) -> Statistics:
        return (await self._count()).statistics

    async def _readings(self) -> Readings:
        return (await self._count()).readings

    # --- their ends ---

    async def _keep(self, worker: Worker) -> None:
        """Start a worker again whenever it has ended."""
        number, ends = worker.number, 0
        while True:
            how = await worker.end()
            self._workers[number - 1] = None
            self._before = total([self._before, worker.counted.at_the_end()])
            _LOG.error(
                "worker %s %s: its connections are closed, and what it had counted since statistics or metrics "
                "were last asked for is lost",
                worker,
                how,
            )
            ends = ends + 1 if monotonic() - worker.started < _LASTS_SECONDS else 1
            while (again := await self._start_again(number, pause_before(ends))) is None:
                ends += 1
            worker = again
            _LOG.info("worker %s serves in its place", worker)

    async def _start_again(self, number: int, pause: float) -> Worker | None:
        """A worker that serves in the place of one that has ended; None where that fails, as the log says."""
        _LOG.info("worker %s is started again%s", number, f" in {pause} s" if pause else "")
        await asyncio.sleep(pause)
        try:
            worker = await self._new(number)
        except OSError as fault:
            _LOG.error("worker %s cannot be started: %s", number, fault)
            return None
        try:
            failure = await self._failure_of(worker)
        except asyncio.CancelledError:  # the server ends
            await self._give_up(worker)
            raise
        if not failure:
            return worker
        _LOG.error("worker %s cannot serve: %s", worker, failure)
        await self._give_up(worker)
        return None

    async def _give_up(self, worker: Worker) -> None:
        """End a worker that does not serve yet."""
        self._workers[worker.number - 1] = None
        worker.kill()
        await worker.end()

    async def _failure_of(self, worker: Worker) -> str:
        """Let a worker load and listen; returns why it cannot, "" where it does."""
        try:
            loaded = await self._load(worker, again=True)
            if loaded.failure:
                return loaded.failure
            if loaded.models != self._models:
                return (
                    "the models in the repository are not those of the start any more; start the server again"
                )
            # over gRPC, requests may come before it says that it listens
            self._workers[worker.number - 1] = worker
            return await self._listen(worker)
        except StartupError as fault:
            return str(fault)


async def _ask(worker: Worker) -> None:
    try:
        await worker.count(_COUNT_SECONDS)
    except TimeoutError:
        raise unavailable(
            f"worker {worker} has not said for {_COUNT_SECONDS} s what it has counted, so there is no sum"
        ) from None


def pause_before(ends: int) -> float:
    """Seconds until a worker is started again that has ended so many times, each time soon after its start."""
    return PAUSES[min(ends, len(PAUSES)) - 1]
