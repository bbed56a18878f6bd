"""Checks an ensemble's own configuration: its steps and the data flow between its tensors.

What needs the configurations of the members is in `ensemble_members`.
"""

from collections.abc import Container, Mapping

from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.repository.config.ensemble_graph import Node, flow, graph_of, steps_of
from triton_emulator.repository.config.platforms import ENSEMBLE
from triton_emulator.repository.schema import Proto


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
    _check_steps(config)
    nodes = graph_of(steps_of(config))
    for tensor in config.input:
        if tensor.name not in nodes:
            raise invalid_arg(f"ensemble input '{tensor.name}' for ensemble {name}' is not used")
    written = {node.name for node in flow(nodes[tensor.name] for tensor in config.input)}
    _check_tensors(config, nodes, written)


def _check_steps(config: Proto) -> None:
    written: set[str] = set()
    for number, step in enumerate(config.ensemble_scheduling.step):
        for key in ("model_name", "input_map", "output_map"):
            if not getattr(step, key):
                raise invalid_arg(f"must specify '{key}' in step {number} of ensemble '{config.name}'")
        for _, name in sorted(step.output_map.items()):
            if name in written:
                raise invalid_arg(
                    f"ensemble tensor '{name}' can appear in an output map only once for ensemble "
                    f"'{config.name}' step {number}"
                )
            written.add(name)


def _check_tensors(config: Proto, nodes: Mapping[str, Node], written: Container[str]) -> None:
    """Every output is written, every tensor is written and used; `written` are those that come from the inputs."""
    outputs = set()
    for output in config.output:
        node = nodes.get(output.name)
        if node is None:
            raise invalid_arg(f"ensemble output '{output.name}' for ensemble {config.name}' is not used")
        if node.name not in written:
            raise _not_written(config.name, node, written)
        outputs.add(node.name)
    for node in nodes.values():
        if node.name not in outputs and (node.name not in written or not node.readers):
            raise invalid_arg(f"ensemble tensor '{node.name}' is unused in ensemble '{config.name}'")


def _not_written(ensemble: str, output: Node, written: Container[str]) -> TritonError:
    """The error names the tensor at the start of the chain that keeps `output` from being written."""
    last, seen = output, set()
    while missing := next((n for n in last.sources if n.name not in written and n.name not in seen), None):
        seen.add(missing.name)
        last = missing
    why = (
        f": at least one of its depending tensors, '{last.name}', is not connected"
        if last is not output
        else ""
    )
    return invalid_arg(f"output '{output.name}' for ensemble '{ensemble}' is not written{why}")
