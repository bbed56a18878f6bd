"""Whether an ensemble's own configuration is lawful: its steps and the data flow between its tensors.

What needs the configurations of the members is in `ensemble`.
"""

from dataclasses import dataclass, field

from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.repository.config.platforms import ENSEMBLE
from triton_emulator.repository.schema import Proto


@dataclass(slots=True, eq=False)
class _Tensor:
    """A node of the ensemble's graph; `sources` are the tensors that the step writing this one reads."""

    name: str
    written: bool = False
    ready: bool = False
    sources: list["_Tensor"] = field(default_factory=list)
    readers: list["_Tensor"] = field(default_factory=list)


def check_ensemble(config: Proto) -> None:
    """Raises INVALID_ARG at the first fault of `config.ensemble_scheduling`."""
    name = config.name
    if config.platform != ENSEMBLE:
        raise invalid_arg(
            f"ensemble scheduling cannot be set for model '{name}' whose platform is not {ENSEMBLE}"
        )
    if config.instance_group:
        raise invalid_arg(f"instance group should not be specified for ensemble '{name}'")
    if config.HasField("optimization"):
        raise invalid_arg(f"optimization should not be specified for ensemble '{name}'")
    if config.model_warmup:
        raise invalid_arg(f"model_warmup can not be specified for ensemble '{name}'")
    if not config.ensemble_scheduling.step:
        raise invalid_arg(f"must specify 'step' for ensemble '{name}'")
    tensors = _graph(config)
    for tensor in config.input:
        if tensor.name not in tensors:
            raise invalid_arg(f"ensemble input '{tensor.name}' for ensemble {name}' is not used")
    _flow(tensors, [tensor.name for tensor in config.input])
    _check_outputs(config, tensors)


def _graph(config: Proto) -> dict[str, _Tensor]:
    tensors: dict[str, _Tensor] = {}
    for number, step in enumerate(config.ensemble_scheduling.step):
        for key in ("model_name", "input_map", "output_map"):
            if not getattr(step, key):
                raise invalid_arg(f"must specify '{key}' in step {number} of ensemble '{config.name}'")
        written = []
        for _, ensemble_name in sorted(step.output_map.items()):
            tensor = tensors.setdefault(ensemble_name, _Tensor(ensemble_name))
            if tensor.written:
                raise invalid_arg(
                    f"ensemble tensor '{ensemble_name}' can appear in an output map only once for ensemble "
                    f"'{config.name}' step {number}"
                )
            tensor.written = True
            written.append(tensor)
        for _, ensemble_name in sorted(step.input_map.items()):
            source = tensors.setdefault(ensemble_name, _Tensor(ensemble_name))
            for tensor in written:
                tensor.sources.append(source)
                source.readers.append(tensor)
    return tensors


def _flow(tensors: dict[str, _Tensor], inputs: list[str]) -> None:
    """Mark every tensor that can be written once the ensemble's inputs are there."""
    queue = [tensors[name] for name in inputs]
    for tensor in queue:
        tensor.ready = True
    for tensor in queue:
        for reader in tensor.readers:
            if not reader.ready and all(source.ready for source in reader.sources):
                reader.ready = True
                queue.append(reader)


def _check_outputs(config: Proto, tensors: dict[str, _Tensor]) -> None:
    outputs = set()
    for output in config.output:
        tensor = tensors.get(output.name)
        if tensor is None:
            raise invalid_arg(f"ensemble output '{output.name}' for ensemble {config.name}' is not used")
        if not tensor.ready:
            raise _not_written(config.name, tensor)
        outputs.add(output.name)
    for tensor in tensors.values():
        if tensor.name not in outputs and (not tensor.ready or not tensor.readers):
            raise invalid_arg(f"ensemble tensor '{tensor.name}' is unused in ensemble '{config.name}'")


def _not_written(ensemble: str, output: _Tensor) -> TritonError:
    """Names the tensor at the far end of the chain that keeps `output` from being written."""
    last, seen = output, set()
    while unready := next((t for t in last.sources if not t.ready and t.name not in seen), None):
        seen.add(unready.name)
        last = unready
    why = (
        f": at least one of its depending tensors, '{last.name}', is not connected"
        if last is not output
        else ""
    )
    return invalid_arg(f"output '{output.name}' for ensemble '{ensemble}' is not written{why}")
