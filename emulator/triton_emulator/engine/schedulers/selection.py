"""Which scheduler a model's configuration asks for."""

from dataclasses import dataclass
from functools import partial

from triton_emulator.clock import Clock
from triton_emulator.engine.executor import Executor, ModelDefinition, ThreadedExecutor
from triton_emulator.engine.response_cache import ResponseCache
from triton_emulator.engine.schedulers.batches import Batcher, Count, InlineBatches, ThreadedBatches
from triton_emulator.engine.schedulers.cached import CachingScheduler
from triton_emulator.engine.schedulers.controls import Controls
from triton_emulator.engine.schedulers.direct import DirectSlots
from triton_emulator.engine.schedulers.dynamic import DynamicBatcher
from triton_emulator.engine.schedulers.oldest import OldestSlots
from triton_emulator.engine.schedulers.ordered import OrderedScheduler
from triton_emulator.engine.schedulers.plain import InlineScheduler, QueueScheduler, Scheduler
from triton_emulator.engine.schedulers.sequence import SequenceBatcher
from triton_emulator.engine.schedulers.slots import SlotScheduler
from triton_emulator.repository.config.model_config import ModelConfig

__all__ = ["Hooks", "scheduler_for"]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What schedulers need from the session. `cache` is None if the server has no response cache."""

    clock: Clock
    count: Count
    cache: ResponseCache | None = None


def scheduler_for(definition: ModelDefinition, executor: Executor, hooks: Hooks) -> Scheduler:
    """Make the scheduler that a configuration asks for, and start the executor's workers.

    Raises TritonError if the initial states of its sequences cannot be read.
    """
    config = definition.config
    scheduler = _scheduler(definition, executor, hooks)
    if config.proto.dynamic_batching.preserve_ordering and definition.rules.preserves_ordering:
        scheduler = OrderedScheduler(scheduler)
    cached = config.proto.response_cache.enable and not _is_sequence(config)
    if config.is_ensemble and not definition.rules.ensembles_cached:
        cached = False
    if hooks.cache is not None and cached:
        scheduler = CachingScheduler(scheduler, hooks.cache, errors=not config.is_ensemble)
    return scheduler


def _scheduler(definition: ModelDefinition, executor: Executor, hooks: Hooks) -> Scheduler:
    config = definition.config
    sequences = _is_sequence(config)
    if isinstance(executor, ThreadedExecutor):
        if not (sequences or config.proto.HasField("dynamic_batching")):
            return QueueScheduler(executor)
        batcher: Batcher = (
            _sequences(definition, executor.instances)
            if sequences
            else DynamicBatcher.of(config, executor.instances, definition.rules)
        )
        return ThreadedBatches(executor, batcher, hooks.clock, hooks.count)
    if not sequences:
        slots: int = getattr(executor, "slots", 0)
        return SlotScheduler(executor, config, slots, hooks.clock) if slots else InlineScheduler(executor)
    return InlineBatches(executor, _sequences(definition, executor.instances), hooks.clock)


def _is_sequence(config: ModelConfig) -> bool:
    return bool(config.proto.HasField("sequence_batching"))


def _sequences(definition: ModelDefinition, instances: int) -> SequenceBatcher:
    config = definition.config
    controls = Controls.of(config, definition.directory, definition.rules)
    batching = config.proto.sequence_batching
    slots = max(1, config.max_batch_size)
    if batching.HasField("oldest"):
        slots = batching.oldest.max_candidate_sequences or slots
        return SequenceBatcher(config, instances, slots, partial(OldestSlots, config, slots, controls))
    return SequenceBatcher(config, instances, slots, partial(DirectSlots, config, slots, controls))
