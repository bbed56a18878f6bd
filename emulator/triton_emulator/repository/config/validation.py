"""Checks a configuration: Triton's checks, in its order and words (core 2.51 ValidateModelConfig).

Every function takes the completed `inference.ModelConfig` message and raises TritonError at the first fault.
"""

from collections.abc import Iterator, Sequence

from triton_emulator.protocol.errors import internal, invalid_arg
from triton_emulator.repository.config.ensemble_validation import check_ensemble
from triton_emulator.repository.config.platforms import (
    BACKEND_OF_PLATFORM,
    ENSEMBLE,
    PLATFORM_BACKENDS,
    TENSORRT_PLAN,
)
from triton_emulator.repository.config.raw_text import to_text
from triton_emulator.repository.config.sequence_validation import check_sequence_batching
from triton_emulator.repository.schema import Proto, enum_name


def check_config(config: Proto) -> None:
    """The checks that need neither the model's files nor its tensors."""
    name = config.name
    if not name:
        raise invalid_arg("model configuration must specify 'name'")
    _check_backend(config)
    if config.max_batch_size < 0:
        raise invalid_arg(f"'max_batch_size' must be non-negative value for {name}")
    if not config.HasField("version_policy"):
        raise invalid_arg(f"must specify 'version policy' for {name}")
    if config.HasField("dynamic_batching"):
        _check_dynamic_batching(config, config.dynamic_batching)
    if config.HasField("sequence_batching"):
        check_sequence_batching(config)
    if config.HasField("ensemble_scheduling"):
        check_ensemble(config)
    elif config.platform == ENSEMBLE:
        raise invalid_arg(f"ensemble scheduling must be set for ensemble {name} whose platform is {ENSEMBLE}")
    if config.model_transaction_policy.decoupled and config.response_cache.enable:
        raise invalid_arg(
            f"Response Cache does not currently support model {name} with 'decoupled' transaction policy. "
            "Please disable the response cache."
        )
    if "model_metrics" in config.DESCRIPTOR.fields_by_name:  # older versions do not have it
        _check_metrics(config.model_metrics)


def check_name(config: Proto, directory_name: str) -> None:
    """The config's name is its directory's."""
    name = to_text(config.name)
    if name != directory_name:
        raise invalid_arg(
            f"unexpected directory name '{directory_name}' for model '{name}', "
            "directory name must equal model name"
        )


def check_instance_groups(config: Proto, gpus: Sequence[int] = ()) -> None:
    """Check the groups of a completed config; `gpus` are those of the machine, none by default."""
    if config.HasField("ensemble_scheduling"):
        return
    for group in config.instance_group:
        kind = enum_name(group, "kind")
        where = f"instance group {group.name} of model {config.name}"
        if kind in ("KIND_MODEL", "KIND_CPU"):
            if group.gpus:
                raise invalid_arg(f"{where} has kind {kind} but specifies one or more GPUs")
        elif kind == "KIND_GPU":
            _check_gpus(group, where, gpus)
        else:
            raise internal(f"{where} has unexpected kind KIND_AUTO")
        _check_profiles(config, group, where)


def _check_gpus(group: Proto, where: str, gpus: Sequence[int]) -> None:
    if not group.gpus:
        raise invalid_arg(f"{where} has kind KIND_GPU but no GPUs are available")
    for number in group.gpus:
        if number not in gpus:
            raise invalid_arg(
                f"{where} specifies invalid or unsupported gpu id {number}. GPUs with at least the minimum required "
                f"CUDA compute compatibility of 6.000000 are: {', '.join(map(str, gpus))}"
            )


def _check_profiles(config: Proto, group: Proto, where: str) -> None:
    if group.profile and config.platform != TENSORRT_PLAN:
        raise invalid_arg(
            f"{where} and platform {config.platform}specifies profile field which is only supported for TensorRT models"
        )
    for profile in group.profile:
        if not profile:
            raise invalid_arg("profile name must not be empty")
        try:
            number = int(profile)
        except ValueError:
            raise invalid_arg(f"unable to parse '{profile}': stoi") from None
        if number < 0:
            raise invalid_arg(
                f"{where} and platform {config.platform} specifies invalid profile {profile}. The field should contain "
                "the string representation of a non-negative integer."
            )


def _check_backend(config: Proto) -> None:
    name, platform, backend = config.name, config.platform, config.backend
    if not backend and platform != ENSEMBLE:
        raise invalid_arg(f"unexpected platform type '{platform}' for {name}")
    if backend and platform == ENSEMBLE:
        raise invalid_arg(
            f"Ensemble model '{name}' must have platform type '{platform}' and empty backend type"
        )
    if backend in PLATFORM_BACKENDS and BACKEND_OF_PLATFORM.get(platform) != backend:
        raise invalid_arg(f"unexpected 'platform' and 'backend' pair, got:{platform}, {backend}")


def _check_dynamic_batching(config: Proto, batcher: Proto) -> None:
    name = config.name
    for size in batcher.preferred_batch_size:
        if size <= 0:
            raise invalid_arg(f"dynamic batching preferred size must be positive for {name}")
        if size > config.max_batch_size:
            raise invalid_arg(f"dynamic batching preferred size must be <= max batch size for {name}")
    levels = batcher.priority_levels
    if levels:
        if not 1 <= batcher.default_priority_level <= levels:
            raise invalid_arg(f"default priority level must be in range [1, {levels}] for {name}")
        if any(not 1 <= level <= levels for level in batcher.priority_queue_policy):
            raise invalid_arg(
                f"priority queue policy must have priority level in range [1, {levels}] for {name}"
            )
    if batcher.preserve_ordering:
        if levels > 1:
            raise invalid_arg(
                f"Only one priority level is allowed when 'preserve_ordering' is true for {name}"
            )
        for policy in _queue_policies(batcher):
            if policy.default_timeout_microseconds and enum_name(policy, "timeout_action") == "DELAY":
                raise invalid_arg(
                    "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for "
                    + name
                )


def _check_metrics(metrics: Proto) -> None:
    for control in metrics.metric_control:
        if not control.HasField("metric_identifier"):
            raise invalid_arg("metric control must specify 'metric_identifier'")
        if not control.metric_identifier.family:
            raise invalid_arg("metric identifier must specify non-empty 'family'")
        if not control.HasField("histogram_options"):
            raise invalid_arg("metric control must specify 'histogram_options'")
        if not control.histogram_options.buckets:
            raise invalid_arg("histogram options must specify non-empty 'buckets'")


def _queue_policies(batcher: Proto) -> Iterator[Proto]:
    yield batcher.default_queue_policy
    yield from batcher.priority_queue_policy.values()
