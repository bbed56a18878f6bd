"""What Triton fills into a configuration before a backend sees it (core 2.51 GetNormalizedModelConfig)."""

from collections.abc import Sequence
from pathlib import Path

from triton_emulator.repository.config.platforms import complete_backend
from triton_emulator.repository.config.raw_text import from_text
from triton_emulator.repository.schema import Proto, enum_name

#: microseconds; a sequence without `max_sequence_idle_microseconds` ends after this long
SEQUENCE_IDLE_DEFAULT_US = 1_000_000
#: backends that are written in Python; their configs name a runtime
_PYTHON_BASED = frozenset({"vllm"})
#: backends that get two CPU instances where the config gives no count
_TWO_CPU_INSTANCES = frozenset({"tensorflow", "onnxruntime"})
#: backends that prefer the CPU where the config declares no group, also beside a GPU
_PREFER_CPU = frozenset({"openvino"})


def complete(config: Proto, name: str, first_version: Path | None) -> None:
    """Fill in, in place, what needs only the repository: name, backend, platform, file name, policies.

    `first_version` is the directory whose files tell the backend. Raises TritonError where the backend stays unknown.
    """
    if not config.name:
        config.name = from_text(name)
    complete_backend(config, name, first_version)
    complete_policies(config)


def complete_policies(config: Proto) -> None:
    """Fill in, in place, the version policy, the batchers' defaults and the pinned memory."""
    _complete_version_policy(config)
    _complete_batching(config)
    if not config.HasField("ensemble_scheduling"):
        for pinned in ("input_pinned_memory", "output_pinned_memory"):
            if not config.optimization.HasField(pinned):
                getattr(config.optimization, pinned).enable = True


def complete_runtime(config: Proto) -> None:
    """Name the runtime, in place, of a backend that is itself a model.py, where configs have that field."""
    if config.backend in _PYTHON_BASED and "runtime" in config.DESCRIPTOR.fields_by_name:
        config.runtime = config.runtime or "model.py"


def named_gpus(config: Proto) -> tuple[int, ...]:
    """The ids of the GPUs that a config asks for, ascending; GPU 0 where it asks for GPUs without naming one."""
    asking = [
        group for group in config.instance_group if enum_name(group, "kind") in ("KIND_GPU", "KIND_AUTO")
    ]
    named = {number for group in asking for number in group.gpus if number >= 0}
    unnamed = any(enum_name(group, "kind") == "KIND_GPU" for group in asking)
    return tuple(sorted(named)) or ((0,) if unnamed else ())


def complete_instance_groups(config: Proto, gpus: Sequence[int] = ()) -> None:
    """Give every instance group a name, a kind, a count and its GPUs, in place; `gpus` are those of the machine."""
    if config.HasField("ensemble_scheduling"):
        return
    if not config.instance_group:
        # 2.51: a group that the config does not declare has the model's name, without a number
        group = config.instance_group.add(name=config.name)
        if config.backend in _PREFER_CPU:
            group.kind = group.KIND_CPU
    for number, group in enumerate(config.instance_group):
        group.name = group.name or f"{config.name}_{number}"
        if enum_name(group, "kind") == "KIND_AUTO":
            all_there = bool(gpus) and set(group.gpus) <= set(gpus)
            group.kind = group.KIND_GPU if all_there else group.KIND_CPU
        if group.count < 1:
            two = group.kind == group.KIND_CPU and config.backend in _TWO_CPU_INSTANCES
            group.count = 2 if two else 1
        if group.kind == group.KIND_GPU and not group.gpus:
            group.gpus.extend(gpus)


def _complete_version_policy(config: Proto) -> None:
    if not config.HasField("version_policy"):
        config.version_policy.latest.num_versions = 1


def _complete_batching(config: Proto) -> None:
    if config.HasField("dynamic_batching"):
        _prefer_largest_batch(config, config.dynamic_batching)
    if config.HasField("sequence_batching"):
        sequence = config.sequence_batching
        sequence.max_sequence_idle_microseconds = (
            sequence.max_sequence_idle_microseconds or SEQUENCE_IDLE_DEFAULT_US
        )
        if sequence.HasField("oldest"):
            _prefer_largest_batch(config, sequence.oldest)


def _prefer_largest_batch(config: Proto, batcher: Proto) -> None:
    if not batcher.preferred_batch_size and config.max_batch_size > 0:
        batcher.preferred_batch_size.append(config.max_batch_size)
