"""Whether an ensemble fits its members: batch sizes, datatypes and shapes along every mapping, decoupled flows.

The checks are those of core 2.51 ValidateEnsembleConfig, in its order and words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.repository.schema import Proto, enum_name


@dataclass(slots=True, eq=False)
class _Step:
    """What the outputs of one step share: the number of the decoupled flow they belong to."""

    flow: int | None = None


@dataclass(slots=True, eq=False)
class _Tensor:
    """An ensemble tensor as the first model that names it sees it."""

    model: str
    datatype: str
    dims: tuple[int, ...]
    full_dims: tuple[int, ...]
    step: _Step | None = None
    decoupled: bool = False
    flow: int | None = None
    sources: list["_Tensor"] = field(default_factory=list)
    readers: list["_Tensor"] = field(default_factory=list)


def check_members(config: Proto, member_configs: Mapping[str, Proto]) -> bool:
    """Check an ensemble against the completed configs of its members; whether it is decoupled.

    Raises INVALID_ARG at the first fault.
    """
    tensors: dict[str, _Tensor] = {}
    for tensor in config.input:
        tensors.setdefault(tensor.name, _tensor(config, tensor, _seen_dims(tensor)))
    for tensor in config.output:
        tensors.setdefault(tensor.name, _tensor(config, tensor, _seen_dims(tensor)))
    for step in config.ensemble_scheduling.step:
        member = member_configs[step.model_name]
        if member.max_batch_size != 0 and member.max_batch_size < config.max_batch_size:
            raise invalid_arg(
                f"ensemble {config.name} allows maximum batch size {config.max_batch_size}, but it contains model "
                f"{step.model_name} which only allows maximum batch size to be {member.max_batch_size}"
            )
        _check_inputs(config.name, step, member, tensors)
        _check_outputs(config.name, step, member, tensors)
        _link(step, member, tensors)
    return _follow_flows(config, tensors)


def _seen_dims(tensor: Proto) -> Sequence[int]:
    dims: Sequence[int] = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
    return dims


def _tensor(model: Proto, tensor: Proto, dims: Sequence[int]) -> _Tensor:
    plain = tuple(dims)
    full = (-1, *plain) if model.max_batch_size > 0 else plain
    return _Tensor(model.name, enum_name(tensor, "data_type"), plain, full)


def _check_inputs(ensemble: str, step: Proto, member: Proto, tensors: dict[str, _Tensor]) -> None:
    inputs = {tensor.name for tensor in member.input}
    for name, ensemble_name in sorted(step.input_map.items()):
        if name not in inputs:
            raise invalid_arg(
                f"in ensemble {ensemble}, ensemble tensor {ensemble_name} is mapping to non-existing input {name} "
                f"in model {step.model_name}"
            )
    for tensor in member.input:
        if tensor.name in step.input_map:
            _meet(ensemble, step.input_map[tensor.name], member, tensor, tensors)
        elif not tensor.optional:
            raise invalid_arg(
                f"in ensemble {ensemble}, input {tensor.name} in model {step.model_name} is not mapped to any "
                "ensemble tensors"
            )


def _check_outputs(ensemble: str, step: Proto, member: Proto, tensors: dict[str, _Tensor]) -> None:
    outputs = {tensor.name: tensor for tensor in member.output}
    for name, ensemble_name in sorted(step.output_map.items()):
        if name not in outputs:
            raise invalid_arg(
                f"in ensemble {ensemble}, ensemble tensor {ensemble_name} is mapped from non-existing output {name} "
                f"in model {step.model_name}"
            )
    shared = _Step()
    for name, ensemble_name in sorted(step.output_map.items()):
        _meet(ensemble, ensemble_name, member, outputs[name], tensors).step = shared


def _meet(ensemble: str, name: str, member: Proto, tensor: Proto, tensors: dict[str, _Tensor]) -> _Tensor:
    """The ensemble tensor `name`, which must agree with what the member says of it."""
    new = _tensor(member, tensor, tensor.dims)
    known = tensors.setdefault(name, new)
    where = f"in ensemble {ensemble}, ensemble tensor {name}: "
    if known.datatype != new.datatype:
        raise invalid_arg(
            f"{where}inconsistent data type: {known.datatype} is inferred from model {known.model} while "
            f"{new.datatype} is inferred from model {new.model}"
        )
    if not _agree(known.dims, new.dims) and not _agree(known.full_dims, new.full_dims):
        raise invalid_arg(
            f"{where}inconsistent shape: {_text(known.full_dims)} is inferred from model {known.model} while "
            f"{_text(new.full_dims)} is inferred from model {new.model}"
        )
    return known


def _agree(left: Sequence[int], right: Sequence[int]) -> bool:
    return len(left) == len(right) and all(-1 in (a, b) or a == b for a, b in zip(left, right, strict=True))


def _text(dims: Sequence[int]) -> str:
    return "[" + ",".join(map(str, dims)) + "]"


def _link(step: Proto, member: Proto, tensors: dict[str, _Tensor]) -> None:
    for _, output in sorted(step.output_map.items()):
        written = tensors[output]
        written.decoupled = member.model_transaction_policy.decoupled
        for _, source in sorted(step.input_map.items()):
            written.sources.append(tensors[source])
            tensors[source].readers.append(written)


def _follow_flows(config: Proto, tensors: dict[str, _Tensor]) -> bool:
    """Number the flows: each decoupled step begins one, and no step may read from two of them."""
    flows = 0
    queue = [tensors[tensor.name] for tensor in config.input]
    for tensor in queue:
        tensor.flow = 0
    for tensor in queue:
        for reader in tensor.readers:
            if reader.flow is not None or any(source.flow is None for source in reader.sources):
                continue
            flow = reader.sources[0].flow
            if any(source.flow != flow for source in reader.sources):
                raise _mixed(config.name, reader.model)
            if reader.step is not None and reader.step.flow is not None:
                flow = reader.step.flow
            elif reader.decoupled:
                flows += 1
                flow = flows
            if reader.step is not None:
                reader.step.flow = flow
            reader.flow = flow
            queue.append(reader)
    if len({tensors[tensor.name].flow for tensor in config.output}) > 1:
        raise _mixed(config.name, config.name)
    return flows != 0


def _mixed(ensemble: str, model: str) -> Exception:
    return invalid_arg(
        f"in ensemble {ensemble}, step of model '{model}' receives inputs originated from different decoupled models"
    )
