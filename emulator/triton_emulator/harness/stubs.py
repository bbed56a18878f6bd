"""Stubs: answers that a test gives in place of a model, and what has become of them.

How it works
------------
`triton.when(...)` makes a `Stub`, `respond` and `then` give it replies. A request that a model would take, as it has
passed validation, is answered by the newest stub that fits; those of a file come after all others, in their order. The
response goes the way of a model's: what the client asks of outputs, classification, shared memory, binary data and
streams is done by the same code.

A model that is in no repository is served while a stub names it: `Models.serve` makes it of what its stubs have as
inputs and outputs. A request to it that no stub fits is refused with what is different.

Stubs are made on a test's threads and tried on the event loop: the list of them is replaced, never changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import count, islice
from typing import Any, Protocol

from triton_emulator.harness.arguments import named
from triton_emulator.harness.errors import NeedsModels
from triton_emulator.harness.journal import JournalEntry
from triton_emulator.harness.near_miss import Distance, Expected, nearest
from triton_emulator.harness.operations import OPERATIONS
from triton_emulator.harness.replies import (
    TEXT_INPUT,
    TEXT_OUTPUT,
    Reply,
    check_inputs,
    expected_inputs,
    formed_inputs,
    reply_of,
    tensor_of,
)
from triton_emulator.protocol.messages import InferRequest, Parameter
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig


class Models(Protocol):
    """What stubs need of the session's models."""

    def config(self, name: str, version: str) -> ModelConfig | None:
        """The config of a ready model of the repositories; None where there is none."""

    def is_there(self, name: str) -> bool:
        """Whether a repository has the model, loaded or not."""

    def serve(self, name: str, version: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Serve a model that is in no repository, with these tensors. Raises ValueError where it cannot be."""

    def withdraw(self, name: str) -> None:
        """Serve it no longer."""


class Stub:
    """Answers for the requests that fit. `triton.when(...)` makes it, `respond` gives it what it answers.

    `used` is how many requests it has answered.
    """

    def __init__(
        self,
        expected: Expected,
        inputs: Sequence[Tensor],
        *,
        number: int,
        standing: bool,
        changed: Callable[[Stub], None],
        config: Callable[[], ModelConfig | None],
        remove: Callable[[Stub], None],
    ) -> None:
        #: from 1 on, in the order in which the stubs of a session were made
        self.number = number
        self.expected = expected
        #: the inputs that it expects, as far as they have a datatype
        self.inputs = inputs
        #: whether it is for every test, as that of a file: no test is told that it is unused
        self.standing = standing
        self.used = 0
        self.replies: tuple[Reply, ...] = ()
        #: the arguments that made each of them
        self._given: tuple[Mapping[str, Any], ...] = ()
        #: what `where` raised
        self.mistake: BaseException | None = None
        self._changed = changed
        self._config = config
        self._remove = remove

    def __str__(self) -> str:
        return str(self.expected)

    def __repr__(self) -> str:
        return f"<Stub for {self.expected}, {len(self.replies)} replies: used {self.used}>"

    @property
    def model(self) -> str:
        """The model that it is for."""
        return self.expected.criteria.model or ""

    @property
    def version(self) -> int:
        """The version that it names; 0 where it names none."""
        return int(self.expected.criteria.version or 0)

    @named
    def respond(
        self,
        outputs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        text: str | None = None,
        tokens: Sequence[str] | None = None,
        output: str | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> Stub:
        """Answer `outputs`, which are arrays by their names, or a `text`, or the `tokens` of one.

        An array is sent in its datatype and shape, with the batch dimension; a list takes the datatype of the model's
        config. Several mappings are several responses of a decoupled model. A text goes into the output with the text,
        or the one that `output` names; a stream has a response for each token, of a text for each word.

        Raises TypeError and ValueError where the model's config has no such output. Returns the stub.
        """
        if self.replies:
            raise ValueError(f"the stub for {self} has its answer; what follows it is given by `then`")
        return self._add(outputs, text, tokens, output, parameters)

    @named
    def then(
        self,
        outputs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        text: str | None = None,
        tokens: Sequence[str] | None = None,
        output: str | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> Stub:
        """Answer this to the next request that fits. The last answer is repeated. Arguments are those of `respond`."""
        if not self.replies:
            raise ValueError(f"the stub for {self} has no answer yet; give the first one by `respond`")
        return self._add(outputs, text, tokens, output, parameters)

    def _add(self, outputs: Any, text: Any, tokens: Any, output: Any, parameters: Any) -> Stub:
        given = {
            "outputs": outputs,
            "text": text,
            "tokens": tokens,
            "output": output,
            "parameters": parameters,
        }
        reply = reply_of(self._config(), **given)
        given = deepcopy(given)  # a test may change its arrays
        before = self.replies, self._given
        self.replies, self._given = (*self.replies, reply), (*self._given, given)
        try:
            self._changed(self)
        except BaseException:
            self.replies, self._given = before
            raise
        return self

    def remove(self) -> None:
        """Answer no further request. A stub that is removed is not judged at the end of a test."""
        self._remove(self)

    # --- on the event loop ---

    def fits(self, entry: JournalEntry, request: InferRequest | None) -> bool:
        """Whether a request is one that it is for. `request` is None where the entry is to be decoded."""
        return bool(self.replies) and not self.differences(entry, request, most=1)

    def differences(
        self, entry: JournalEntry, request: InferRequest | None, most: int | None = None
    ) -> list[str]:
        """What is different in a request, up to `most` of it; a `where` that raises is one."""
        try:
            return list(islice(self.expected.differences(entry, request), most))
        except BaseException as mistake:  # noqa: BLE001  (of the test's `where`, as of a plan's)
            self.mistake = mistake
            return [f"where raised {type(mistake).__name__}: {mistake}"]

    def take(self, config: ModelConfig | None) -> Reply:
        """The answer to the next request. `config` is that of the model, None where only stubs have it.

        Raises TypeError and ValueError where the model cannot give it: it may have been loaded after the stub was made.
        """
        at = min(self.used, len(self.replies) - 1)
        self.used += 1
        reply = self.replies[at]
        return reply if reply.config is config else reply_of(config, **self._given[at])

    def problems(self) -> Iterator[str]:
        """What a test that made it and has ended would want to know."""
        if self.mistake is not None:
            yield f"the stub for {self}: its `where` raised {type(self.mistake).__name__}: {self.mistake}"
        elif not self.replies:
            yield f"the stub for {self} has no answer: give it one by `respond`"
        elif not self.used:
            yield f"the stub for {self} was not used"
        elif self.used < len(self.replies):
            yield f"the stub for {self} gave {self.used} of its {len(self.replies)} answers"


class Stubs:
    """The stubs of one session."""

    def __init__(self, models: Models, *, passes: bool = False) -> None:
        """`passes` says that the answers are those of a real server, which pass as they are."""
        self._models = models
        self._passes = passes
        #: in the order in which they are tried
        self._stubs: tuple[Stub, ...] = ()
        self._made = count(1)
        #: the models that are served because a stub names them, with their versions
        self._served: dict[str, set[int]] = {}
        self._closed = False
        #: held by the threads of a test, never by the event loop
        self._changing = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._stubs)

    def __iter__(self) -> Iterator[Stub]:
        return iter(self._stubs)

    def add(self, expected: Expected, *, standing: bool = False) -> Stub:
        """Make a stub, which answers nothing after `close`. Raises TypeError or ValueError for what means nothing."""
        if self._passes:
            raise NeedsModels(
                "a stub answers in place of a model; the answers of an upstream pass as they are"
            )
        name, version = _check(expected)
        tensors = formed_inputs(expected.inputs)
        expected = replace(expected, inputs=expected_inputs(expected.inputs))
        config = self._config(name, version)
        if config is not None:
            check_inputs(config, expected.inputs)
        else:
            tensors = {
                key: tensors.get(key) or tensor_of(key, value) for key, value in expected.inputs.items()
            }
        stub = Stub(
            expected,
            tuple(tensors.values()),
            number=next(self._made),
            standing=standing,
            changed=self._changed,
            config=lambda: self._config(name, version),
            remove=self._remove,
        )
        with self._changing:
            if self._closed:
                return stub
            at = len(self._stubs) if standing else 0
            self._stubs = (*self._stubs[:at], stub, *self._stubs[at:])
        return stub

    def close(self) -> None:
        """Remove all stubs, and those that are added from now on at once: they come from a thread that is too late."""
        with self._changing:
            self._closed = True
            self._stubs = ()
            while self._served:
                self._models.withdraw(self._served.popitem()[0])

    def reopen(self) -> None:
        """Take stubs again."""
        with self._changing:
            self._closed = False

    def _config(self, name: str, version: str) -> ModelConfig | None:
        return None if name in self._served else self._models.config(name, version)

    def _remove(self, stub: Stub) -> None:
        with self._changing:
            self._stubs = tuple(each for each in self._stubs if each is not stub)
            if stub.model in self._served:
                self._serve(stub.model)

    def _changed(self, stub: Stub) -> None:
        """A stub has another reply."""
        with self._changing:
            if stub in self._stubs and (stub.model in self._served or not self._models.is_there(stub.model)):
                self._serve(stub.model)

    def _serve(self, name: str) -> None:
        """Serve a model that is in no repository by what its stubs have."""
        stubs = [stub for stub in reversed(self._stubs) if stub.model == name and stub.replies]
        if not stubs or self._models.is_there(name):  # a repository may have got it meanwhile
            self._models.withdraw(name)
            self._served.pop(name, None)
            return
        inputs = [tensor for stub in stubs for tensor in stub.inputs]
        outputs = [tensor for stub in stubs for reply in stub.replies for tensor in reply.tensors()]
        if not inputs and any(tensor.name == TEXT_OUTPUT for tensor in outputs):
            inputs = [tensor_of(TEXT_INPUT, [""])]
        versions = {stub.version or 1 for stub in stubs}
        if self._served.get(name, versions) - versions:  # a version has gone
            self._models.withdraw(name)
        for version in sorted(versions):
            self._models.serve(name, version, inputs, outputs)
        self._served[name] = versions

    # --- on the event loop ---

    def choose(self, entry: JournalEntry, request: InferRequest | None) -> Stub | None:
        """The first stub that a request fits."""
        for stub in self._stubs:
            if stub.model == entry.model and stub.fits(entry, request):
                return stub
        return None

    def serves(self, name: str) -> bool:
        """Whether a model is there only because a stub names it."""
        return name in self._served

    def miss(self, entry: JournalEntry, request: InferRequest | None) -> str:
        """Why no stub answers a request: the nearest stubs, with what is different."""
        near = nearest(
            (_distance(stub, entry, different), (different, stub))
            for stub in self._stubs
            if stub.model == entry.model and stub.replies
            for different in [stub.differences(entry, request)]
        )
        lines = [f"no stub of model '{entry.model}' fits this request"]
        lines += [f"the stub for {stub}: {'; '.join(different)}" for different, stub in near]
        return "\n".join(lines)


def _distance(stub: Stub, entry: JournalEntry, differences: Sequence[str]) -> Distance:
    wanted = stub.expected.criteria
    return Distance(
        wanted.operation not in (None, entry.operation),
        False,
        wanted.protocol not in (None, entry.protocol),
        len(differences),
    )


def _check(expected: Expected) -> tuple[str, str]:
    """The model and the version that a stub is for. Raises ValueError."""
    criteria = expected.criteria
    if not criteria.model:
        raise ValueError("a stub is for one model: name it by model=")
    if criteria.operation is not None and not OPERATIONS[criteria.operation].infers:
        known = ", ".join(name for name, kind in OPERATIONS.items() if kind.infers)
        raise ValueError(f"a stub answers inference: {known}; not {criteria.operation}")
    version = criteria.version or ""
    if version and not (version.isascii() and version.isdecimal() and len(version) < 19 and int(version)):
        raise ValueError(f"version is the number of a version, not {version!r}")
    return criteria.model, version
