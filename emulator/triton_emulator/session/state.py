"""The state of one session: models, shared memory, the settings that clients change, counts.

To reset a session is to make a new one.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns
from typing import Any

from triton_emulator.backends.standins.inline import InlineExecutor
from triton_emulator.clock import clock_of
from triton_emulator.engine.loaded_model import LoadedModel, Surroundings
from triton_emulator.engine.mailbox import Mailbox
from triton_emulator.engine.reporters import Reporters
from triton_emulator.engine.response_cache import ResponseCache
from triton_emulator.harness.cassettes.player import Player
from triton_emulator.harness.cassettes.reading import read_cassette, read_server
from triton_emulator.harness.cassettes.writing import Recorder
from triton_emulator.harness.given_files import Given, given_by
from triton_emulator.harness.harness import Harness
from triton_emulator.harness.journal import Journal
from triton_emulator.harness.shadow import Shadow
from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.protocol.extensions import EXTENSIONS
from triton_emulator.protocol.personality import NO_LIMIT, Personality, personality
from triton_emulator.repository.version_life import State
from triton_emulator.session.counts import Counts
from triton_emulator.session.loader import Loader
from triton_emulator.session.log_settings import LogSettings
from triton_emulator.session.one_process import MODEL_CHANGE, SHARED_MEMORY, one_of_several
from triton_emulator.session.shared_memory import CudaSharedMemory, SystemSharedMemory, disabled
from triton_emulator.session.statistics import Statistics
from triton_emulator.session.stub_models import StubModels
from triton_emulator.session.trace import TraceSettings
from triton_emulator.session.upstream import Upstream
from triton_emulator.settings import GRPC_RESTRICTED_PREFIX, Settings
from triton_emulator.yaml_nodes import YamlFile

_LOG = logging.getLogger(__name__)
#: bytes that a compressed body may have without --http-max-input-size: a megabyte of gzip can hold a gigabyte of zeros
_INFLATED_LIMIT = 1 << 30
#: how long the end waits for comparisons with a real server that are not done
_SHADOW_SECONDS = 30.0


class SessionState:
    """One session. Make it on the event loop that will serve it, then call `start()` in a thread.

    Raises TritonError for settings that mean nothing, CassetteError where nothing can be recorded.
    """

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        #: what the emulated version of Triton does
        self.personality = personality(settings.triton_version, settings.triton_core_version)
        #: the largest request body over HTTP in bytes, where the version has no limit of its own; 0 is no limit
        self.http_max_body = 0
        #: the same for the body that a compressed one becomes
        self.http_inflated_limit = _INFLATED_LIMIT
        self._limit_bodies(settings.http_max_input_size)
        #: whether clients may register and unregister shared memory
        self._client_shared_memory = (
            self.personality.allows_client_shared_memory
            if settings.allow_client_shm is None
            else settings.allow_client_shm
        )
        #: the time of all that the session models, measures and waits for
        self.clock = clock_of(settings.clock, loop)
        self.made_ns = monotonic_ns()
        self.system_shared_memory = SystemSharedMemory(self.personality)
        self.cuda_shared_memory = CudaSharedMemory(self.system_shared_memory, self.personality)
        self.trace = TraceSettings.of(settings, self.personality)
        self.log_settings = LogSettings.of(settings)
        self.response_cache = ResponseCache.of(settings.cache_config)
        #: headers and metadata whose names these match become request parameters; None matches nothing
        self.http_forwarded = _pattern("http", settings.http_header_forward_pattern, self.personality)
        self.grpc_forwarded = _pattern("grpc", settings.grpc_header_forward_pattern, self.personality)
        #: held while one journal with its plans and stubs takes the place of another
        self._resetting = threading.Lock()
        #: what tests do with the session beyond asking it; None where the journal is off and no plan is given
        self.harness: Harness | None = None
        self._given = Given()
        #: the real server that answers in place of models; None where models answer
        self.upstream = Upstream(settings) if settings.has_upstream else None
        self._loop = loop
        #: what passes to the real server goes into a cassette; None where nothing is recorded
        self.recorder = (
            Recorder(Path(settings.record), self.upstream.origin)
            if settings.record and self.upstream is not None
            else None
        )
        #: the cassette that answers; None where none does
        self.player: Player | None = None
        #: compares the real server with the session's models; None where it does not
        self.shadow = Shadow() if settings.shadow else None
        #: whether a real server or a cassette answers in place of models
        self.passes = self.upstream is not None or bool(settings.replay)
        mailbox = Mailbox(loop)
        self.counts = Counts(loop, mailbox, self.personality)
        summarizes = ("summary_latencies", "true") in settings.metrics_config
        histograms = (
            self.personality.has_first_response_histogram
            and ("histogram_latencies", "true") in settings.metrics_config
        )
        surroundings = Surroundings(
            mailbox,
            self.clock,
            self.counts.count,
            Reporters(),
            self.response_cache,
            summarizes,
            histograms,
        )
        if settings.shadow:
            settings = replace(settings, model_repositories=(str(settings.shadow),))
        self._loader = Loader(settings, self.personality, loop, surroundings, self.counts)
        self.repository = self._loader.repository
        self._stub_models = StubModels(self.repository, surroundings, self.counts, self.personality)
        self.model_metrics = self._loader.model_metrics
        #: asks all processes that serve these models for their statistics, and blocks meanwhile; None for one process
        self.totals: Callable[[], Statistics] | None = None
        self._started = False

    def _limit_bodies(self, limit: int | None) -> None:
        """Apply `--http-max-input-size`. A version with this flag has limits for parts of bodies, at several places."""
        rules = self.personality
        if rules.http_max_input_size == NO_LIMIT:
            self.http_max_body = limit or 0
            self.http_inflated_limit = limit or _INFLATED_LIMIT
            return
        if limit is not None:
            self.personality = rules = replace(rules, http_max_input_size=limit or NO_LIMIT)
        if rules.limits_decompressed:
            self.http_inflated_limit = rules.http_max_input_size

    def __repr__(self) -> str:
        models = len({served.name for served in self.repository.all_served()})
        return f"<SessionState {'ready' if self.ready else 'not ready'}, {models} models>"

    @property
    def readiness_blocks(self) -> bool:
        """Whether the question whether a model or the server is ready may run a model's code. Not on the loop then."""
        return self._loader.asks_models

    @property
    def ready(self) -> bool:
        return self._started and self.repository.ready()

    def model_is_ready(self, name: str, version: str) -> bool:
        """Whether a model is ready; one that a cassette stands for is. Raises as `Repository.is_ready` does."""
        if self.player is not None and not self.settings.loads_models:
            return self.player.is_ready(name, version)
        return self.repository.is_ready(name, version)

    @property
    def metadata(self) -> tuple[str, str, Sequence[str]]:
        """The name, version and extensions of the server; where a cassette answers, those of the recorded one."""
        told: Mapping[str, Any] = {}
        if self.player is not None and not self.settings.loads_models:
            told = self.player.server
        return (
            told.get("name", self.settings.id),
            told.get("version", self.settings.core_version),
            told.get("extensions", EXTENSIONS),
        )

    def require_client_shared_memory(self) -> None:
        """Raises UNSUPPORTED where clients may not register and unregister shared memory."""
        self.require_one_process(*SHARED_MEMORY)
        if not self._client_shared_memory:
            raise disabled()

    def require_one_process(self, change: str, instead: str) -> None:
        """Raises UNSUPPORTED where a `change` by a request would reach one of several processes."""
        if self.settings.workers > 1:
            raise one_of_several(self.settings, change, instead)

    def require_model_control(self) -> None:
        """Raises UNSUPPORTED where clients could load and unload models of one of several processes."""
        if self.settings.model_control_mode == "explicit":  # in the other modes the repository refuses it
            self.require_one_process(*MODEL_CHANGE)

    def start(self) -> Exception | None:
        """Load the models; returns what `--exit-on-error` would end the server for. Blocks: not on the event loop.

        Raises SettingsError for an `emulator.yaml` that means nothing, TritonError for a repository that is none,
        CassetteError for a cassette that cannot be replayed.
        """
        if self.settings.replay:
            folder = Path(self.settings.replay)
            self.player = Player(folder, read_cassette(folder), read_server(folder))
        files = self._loader.read_settings()
        self._given = given_by(self.settings.faults, [(YamlFile(file.path), file.others) for file in files])
        error = self._loader.start() if self.settings.loads_models else None
        try:
            self.reset_harness()  # now: a plan that lasts for some seconds begins when clients can ask
        except ValueError as fault:  # a plan that cannot stand in front of an upstream
            raise invalid_arg(str(fault)) from fault
        self._started = True
        return error

    def stand_ins(self) -> list[tuple[LoadedModel, InlineExecutor]]:
        """The loaded versions of models for which stand-ins answer, with these."""
        loaded = [served.loaded for served in self.repository.all_served()]
        return [(model, model.executor) for model in loaded if isinstance(model.executor, InlineExecutor)]

    def reset_harness(self) -> None:
        """Begin a new journal without plans and stubs, but for those that files and flags give, which are made anew.

        Stand-ins have again the latencies with which they were loaded. Requests in flight end in the journal in which
        they began. Raises SettingsError for a stub of a file that the model's config does not have.
        """
        settings = self.settings
        if not settings.journal_requests and not self._given and not self.passes:
            return
        restricted = [rule.header for rule in settings.http_restricted_apis]
        restricted += [GRPC_RESTRICTED_PREFIX + rule.header for rule in settings.grpc_restricted_protocols]
        journal = Journal(
            settings.journal_requests,
            settings.journal_bytes,
            restricted,
            self.clock.monotonic_ns,
            self.clock.time_ns,
        )
        with self._resetting:
            before = self.harness
            # From now on what another thread adds to it goes as well: nobody would ever remove it.
            if before is not None:
                before.stubs.close()
            try:
                harness = Harness(
                    journal,
                    settings.seed,
                    self._stub_models,
                    self._given,
                    passes=self.passes,
                    allowed=before.allowed if before is not None else None,
                )
            except BaseException:
                if before is not None:
                    before.stubs.reopen()
                raise
            for _, stand_in in self.stand_ins():
                stand_in.restore_latencies()
            harness.recorder = self.recorder
            if self.player is not None:
                self.player.rewind()
            self.harness = harness

    def close(self, timeout: float | None = None, finalize_timeout: float = 0) -> bool:
        """Unload all models and release what the session holds; False where `timeout` seconds did not suffice.

        A model that has no request and is not loading gets `finalize_timeout` seconds more. Blocks: not on the event
        loop.
        """
        if self.shadow is not None:
            left = _SHADOW_SECONDS if timeout is None else timeout
            asyncio.run_coroutine_threadsafe(self.shadow.close(left), self._loop).result()
        if self.upstream is not None:
            asyncio.run_coroutine_threadsafe(self.upstream.close(), self._loop).result(timeout)
        if self.recorder is not None:
            self.recorder.close()
        models = {served.loaded for served in self.repository.all_served()}
        ended = self.repository.close(timeout)
        if (
            not ended
            and finalize_timeout
            and not (self.repository.loading or any(model.in_flight for model in models))
        ):
            ended = self.repository.wait_idle(finalize_timeout)
        if not ended:
            for text in _held_by(models, self.repository.status_rows()):
                _LOG.warning("the end does not wait any longer for %s", text)
        self.system_shared_memory.clear()
        return ended


def _held_by(models: Iterable[LoadedModel], rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """What has not ended of each model whose status is LOADING or UNLOADING. A row has model, version and status."""
    in_flight = {(model.name, str(model.version)): model.in_flight for model in models}
    for name, version, status in rows:
        if status == State.LOADING.value:
            yield f"model '{name}' version {version}: it is still loading"
        elif status == State.UNLOADING.value:
            count = in_flight.get((name, version), 0)
            work = f"requests in flight: {count}" if count else "its finalize has not returned"
            yield f"model '{name}' version {version}: {work}"


def _pattern(protocol: str, text: str, rules: Personality) -> re.Pattern[str] | None:
    flags = re.IGNORECASE if rules.forwarding_ignores_case else re.NOFLAG
    try:
        return re.compile(text, flags) if text else None
    except re.error as fault:
        # 2.51 starts, forwards nothing and complains at every request
        raise invalid_arg(f"--{protocol}-header-forward-pattern is no regular expression: {fault}") from None
