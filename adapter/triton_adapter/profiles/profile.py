"""A profile: one backend's names for what an OpenAI request and reply hold. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_adapter.triton.discovery import ModelInfo

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The tables of one backend. Where several names are given, the first one that the model has is meant."""

    name: str
    # The profile fits a model with one input of each of these groups, or with this backend.
    marks: tuple[Names, ...] = ()
    backend: str = ""
    prompt: Names = ("text_input",)
    text: Names = ("text_output",)
    # OpenAI parameter (or a backend's own sampling parameter) -> input tensor.
    parameters: Mapping[str, Names] = field(default_factory=dict)
    # An input that takes one JSON object of parameters, and its keys by OpenAI parameter.
    packed: str | None = None
    packed_keys: Mapping[str, str] = field(default_factory=dict)
    # Inputs that are sent whenever the model has them.
    always: Mapping[str, Any] = field(default_factory=dict)
    stream: Names = ("stream", "streaming")
    exclude_prompt: Names = ()
    # The backend repeats the prompt before its answer unless an input tells it not to.
    echoes_prompt: bool = False
    # Outputs.
    finish_reason: Names = ("finish_reason",)
    prompt_tokens: Names = ("num_input_tokens",)
    completion_tokens: Names = ("num_output_tokens",)
    # True: each event counts its own new tokens. False: each event holds the count so far.
    counts_are_deltas: bool = False
    # How log probabilities come: "vllm" (JSON text with tokens), "numbers" (no token text), None (not at all).
    logprobs: str | None = None
    logprobs_input: str = ""
    logprobs_output: str = ""
    # How guided decoding is requested: "guide" (two tensors), "structured_outputs" (a packed key), None.
    guided: str | None = None
    # How images travel: input -> "url" (as given), "base64" (of a data: URI).
    images: Mapping[str, str] = field(default_factory=dict)

    def fits(self, info: ModelInfo) -> bool:
        """Tell whether the profile is the model's."""
        if self.backend and info.backend == self.backend:
            return True
        return bool(self.marks) and all(any(name in info.inputs for name in group) for group in self.marks)
