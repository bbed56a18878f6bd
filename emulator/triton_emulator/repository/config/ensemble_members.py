"""Checks an ensemble against its members: batch sizes, datatypes and shapes along every mapping, decoupled flows.

The checks are those of core 2.51 ValidateEnsembleConfig, in its order and words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.protocol.shapes import VARIABLE, shape_text
from triton_emulator.repository.config.ensemble_graph import Step, flow, graph_of, steps_of
from triton_emulator.repository.schema import Proto, enum_name


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An ensemble tensor as the first model that names it describes it; `full_dims` have the batch dimension."""

    model: str
    datatype: str
    dims: tuple[int, ...]
    full_dims: tuple[int, ...]


def check_members(config: Proto, member_configs: Mapping[str, Proto]) -> bool:
    """Check an ensemble against the completed configs of its members. Returns whether it is decoupled.

    Raises INVALID_ARG at the first fault.
    """
    tensors: dict[str, _Tensor] = {}
    for tensor in (*config.input, *config.output):
        tensors.setdefault(tensor.name, _tensor(config, tensor, _seen_dims(tensor)))
    steps = steps_of(config)
    for step in steps:
        member = member_configs[step.model]
        if member.max_batch_size != 0 and member.max_batch_size < config.max_batch_size:
            raise invalid_arg(
                f"ensemble {config.name} allows maximum batch size {config.max_batch_size}, but it contains model "
                f"{step.model} which only allows maximum batch size to be {member.max_batch_size}"
            )
        _check_inputs(config.name, step, member, tensors)
        _check_outputs(config.name, step, member, tensors)
    decoupled = [member_configs[step.model].model_transaction_policy.decoupled for step in steps]
    return _follow_flows(config, steps, decoupled, tensors)


def _seen_dims(tensor: Proto) -> Sequence[int]:
    dims: Sequence[int] = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
    return dims


def _tensor(model: Proto, tensor: Proto, dims: Sequence[int]) -> _Tensor:
    plain = tuple(dims)
    full = (-1, *plain) if model.max_batch_size > 0 else plain
    return _Tensor(model.name, enum_name(tensor, "data_type"), plain, full)


def _check_inputs(ensemble: str, step: Step, member: Proto, tensors: dict[str, _Tensor]) -> None:
    inputs = {tensor.name for tensor in member.input}
    for name, ensemble_name in step.inputs:
        if name not in inputs:
            raise invalid_arg(
                f"in ensemble {ensemble}, ensemble tensor {ensemble_name} is mapping to non-existing input {name} "
                f"in model {step.model}"
            )
    mapped = dict(step.inputs)
    for tensor in member.input:
        if tensor.name in mapped:
            _meet(ensemble, mapped[tensor.name], member, tensor, tensors)
        elif not tensor.optional:
            raise invalid_arg(
                f"in ensemble {ensemble}, input {tensor.name} in model {step.model} is not mapped to any "
                "ensemble tensors"
            )


def _check_outputs(ensemble: str, step: Step, member: Proto, tensors: dict[str, _Tensor]) -> None:
    outputs = {tensor.name: tensor for tensor in member.output}
    for name, ensemble_name in step.outputs:
        if name not in outputs:
            raise invalid_arg(
                f"in ensemble {ensemble}, ensemble tensor {ensemble_name} is mapped from non-existing output {name} "
                f"in model {step.model}"
            )
    for name, ensemble_name in step.outputs:
        _meet(ensemble, ensemble_name, member, outputs[name], tensors)


def _meet(ensemble: str, name: str, member: Proto, tensor: Proto, tensors: dict[str, _Tensor]) -> None:
    """Check that the ensemble tensor `name` agrees with what the member says of it."""
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
            f"{where}inconsistent shape: {shape_text(known.full_dims)} is inferred from model {known.model} while "
            f"{shape_text(new.full_dims)} is inferred from model {new.model}"
        )


def _agree(left: Sequence[int], right: Sequence[int]) -> bool:
    return len(left) == len(right) and all(
        VARIABLE in (a, b) or a == b for a, b in zip(left, right, strict=True)
    )


def _follow_flows(
    config: Proto, steps: Sequence[Step], decoupled: Sequence[bool], tensors: Mapping[str, _Tensor]
) -> bool:
    """Number the flows of responses: the inputs are flow 0, each decoupled step begins another.

    The outputs of a step belong to one flow. No step, nor the ensemble's outputs, may join two. Whether there is more
    than one.
    """
    nodes = graph_of(steps)
    inputs = [tensor.name for tensor in config.input]
    flows = dict.fromkeys(inputs, 0)
    of_step: dict[int | None, int] = {}
    last = 0
    for node in flow(nodes[name] for name in inputs):
        if node.name in flows:
            continue
        joined = {flows[source.name] for source in node.sources}
        if len(joined) > 1:
            raise _mixed(config.name, tensors[node.name].model)
        if node.step not in of_step:
            of_step[node.step] = joined.pop()
            if node.step is not None and decoupled[node.step]:
                last += 1
                of_step[node.step] = last
        flows[node.name] = of_step[node.step]
    if len({flows.get(tensor.name) for tensor in config.output}) > 1:
        raise _mixed(config.name, config.name)
    return last != 0


def _mixed(ensemble: str, model: str) -> Exception:
    return invalid_arg(
        f"in ensemble {ensemble}, step of model '{model}' receives inputs originated from different decoupled models"
    )
