"""The models that stubs answer for: those of the repositories, and those that are there because a stub names them.

A model that is in no repository is served as any other: it is ready and listed, and has metadata, a config and
statistics. Its config is made of its stubs' inputs and outputs; a dimension in which they differ is variable. It takes
any inputs, as it is the stubs that say what fits.
"""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import ModelDefinition
from triton_emulator.engine.loaded_model import LoadedModel, Surroundings, metric_labels
from triton_emulator.engine.validation import validate_any
from triton_emulator.protocol.datatypes import DATATYPES
from triton_emulator.protocol.errors import TritonError, unavailable
from triton_emulator.protocol.messages import InferResponse
from triton_emulator.protocol.personality import Personality
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.override import check_model_name
from triton_emulator.repository.repository import Repository
from triton_emulator.repository.scanner import PolledModel
from triton_emulator.repository.schema import Proto, new_config
from triton_emulator.repository.version_life import Served
from triton_emulator.session.counts import Counts

#: what metadata and config show as the backend of a model that only stubs have
BACKEND = "stub"


class StubModels:
    """`harness.stubs.Models` over a repository. All of it may be called on any thread."""

    def __init__(
        self,
        repository: Repository[LoadedModel],
        surroundings: Surroundings,
        counts: Counts,
        rules: Personality,
    ) -> None:
        self._repository = repository
        self._surroundings = surroundings
        self._failures = counts.failures
        self._rules = rules
        #: held while a model is found or made and served: meanwhile no other thread may end it
        self._changing = threading.Lock()

    def config(self, name: str, version: str) -> ModelConfig | None:
        """The config of a ready model; None where there is none."""
        try:
            return self._repository.get(name, version).config
        except TritonError:
            return None

    def is_there(self, name: str) -> bool:
        """Whether a repository has the model, loaded or not."""
        return self._repository.has_folder(name)

    def serve(self, name: str, version: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Serve a model with these tensors. Raises ValueError for a name that none can have."""
        try:
            check_model_name(name, self._rules)
        except TritonError as fault:
            raise ValueError(fault.message) from None
        config = new_config(self._rules.unknown_config_fields)
        config.name, config.backend = name, BACKEND
        config.version_policy.specific.versions.append(version)
        _describe(config.input, inputs)
        _describe(config.output, outputs)
        definition = ModelDefinition(name, version, ModelConfig.of(config), Path(), rules=self._rules)
        with self._changing:
            try:
                model = self._repository.get(name, str(version))
            except TritonError:
                self._failures.open(metric_labels(definition), lasting=False)
                executor = _Unanswered(definition)
                model = LoadedModel(definition, executor, {}, self._surroundings, validate=validate_any)
            else:
                model.describe(definition)
            source = PolledModel(name, Path(), config)
            self._repository.add(Served(name, version, definition.config, model, source, {}))

    def withdraw(self, name: str) -> None:
        """Serve a model no longer that only stubs had."""
        with self._changing:
            for served in self._repository.remove(name):
                self._failures.close(served.loaded.metric_labels)


def _describe(specs: Proto, tensors: Iterable[Tensor]) -> None:
    """Add the tensors to a config. Raises ValueError where two of one name have different datatypes."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for tensor in tensors:
        datatype, dims = found.setdefault(tensor.name, (tensor.datatype, tensor.shape))
        if datatype != tensor.datatype:
            raise ValueError(
                f"{tensor.name} is {datatype} in another stub of the model, not {tensor.datatype}"
            )
        if len(dims) != len(tensor.shape):
            dims = (-1,)
        else:
            dims = tuple(dim if dim == other else -1 for dim, other in zip(dims, tensor.shape, strict=True))
        found[tensor.name] = datatype, dims
    for name, (datatype, dims) in found.items():
        # a config has no dimension of 0, and at least one
        sizes = [dim or -1 for dim in dims] or [1]
        specs.add(name=name, data_type=DATATYPES[datatype].config_name, dims=sizes)


class _Unanswered:
    """The executor of a model that only stubs have: requests of clients are answered before they get here."""

    instances = 1

    def __init__(self, definition: ModelDefinition) -> None:
        self._name, self._version = definition.name, str(definition.version)

    def execute(self, calls: Sequence[Call], instance: int) -> None:
        """Refuse requests that other models send, which no stub answers."""
        for call in calls:
            call.failed = True
            call.times.ended(call.now())
            error = unavailable(
                f"stubs of model '{self._name}' answer the requests of clients, not of models"
            )
            call.respond(InferResponse(self._name, self._version, call.request.id, error=error), final=True)

    def finalize(self) -> None:
        """Nothing to release."""
