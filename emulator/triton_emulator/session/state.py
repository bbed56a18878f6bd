"""The state of one session: models, shared memory, the settings that clients change, counts.

To reset a session is to make a new one.
"""

import asyncio
import re
from time import monotonic_ns

from triton_emulator.engine.loaded_model import Surroundings
from triton_emulator.engine.mailbox import Mailbox
from triton_emulator.engine.response_cache import ResponseCache
from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.session.counts import Counts
from triton_emulator.session.loader import Loader
from triton_emulator.session.log_settings import LogSettings
from triton_emulator.session.shared_memory import CudaSharedMemory, SystemSharedMemory
from triton_emulator.session.trace import TraceSettings
from triton_emulator.settings import Settings


class SessionState:
    """One session. Make it on the event loop that will serve it, then call `start()` in a thread.

    Raises TritonError, SettingsError or ValueError for settings that mean nothing.
    """

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.made_ns = monotonic_ns()
        self.system_shared_memory = SystemSharedMemory()
        self.cuda_shared_memory = CudaSharedMemory(self.system_shared_memory)
        self.trace = TraceSettings.of(settings)
        self.log_settings = LogSettings.of(settings)
        self.response_cache = ResponseCache.of(settings.cache_config)
        #: headers and metadata whose names these match become request parameters; None matches nothing
        self.http_forwarded = _pattern("http", settings.http_header_forward_pattern)
        self.grpc_forwarded = _pattern("grpc", settings.grpc_header_forward_pattern)
        mailbox = Mailbox(loop)
        self.counts = Counts(loop, mailbox)
        summarizes = ("summary_latencies", "true") in settings.metrics_config
        surroundings = Surroundings(mailbox, self.counts.count, self.response_cache, summarizes)
        loader = Loader(settings, loop, surroundings, self.counts)
        self.repository = loader.repository
        self.model_metrics = loader.model_metrics
        self._started = False

    def __repr__(self) -> str:
        models = len({served.name for served in self.repository.all_served()})
        return f"<SessionState {'ready' if self.ready else 'not ready'}, {models} models>"

    @property
    def ready(self) -> bool:
        return self._started and self.repository.ready()

    def start(self) -> Exception | None:
        """Load the models; returns what `--exit-on-error` would end the server for. Blocks: not on the event loop."""
        error = self.repository.start()
        self._started = True
        return error

    def close(self, timeout: float | None = None) -> bool:
        """Unload all models and release what the session holds; False where `timeout` seconds did not suffice.

        Blocks: not on the event loop.
        """
        ended = self.repository.close(timeout)
        self.system_shared_memory.clear()
        return ended


def _pattern(protocol: str, text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.IGNORECASE) if text else None
    except re.error as fault:
        # 2.51 starts, forwards nothing and complains at every request
        raise invalid_arg(f"--{protocol}-header-forward-pattern is no regular expression: {fault}") from None
