"""A binding: one profile's tables joined to one model's real inputs and outputs. Made once, read on every call."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_adapter.errors import BadRequestError, UnsupportedParameterError
from triton_adapter.profiles import choose
from triton_adapter.profiles.profile import Names, Profile
from triton_adapter.profiles.slot import Slot
from triton_adapter.settings import Settings
from triton_adapter.triton.discovery import ModelInfo, TensorSpec

# Datatypes of the public contracts, assumed if the server does not describe its model.
ASSUMED = {
    "max_tokens": "INT32",
    "min_tokens": "INT32",
    "top_k": "INT32",
    "n": "INT32",
    "best_of": "INT32",
    "seed": "UINT64",
    "stop": "BYTES",
    "bad_words": "BYTES",
}
OPERATIONS = (None, "infer", "generate", "embeddings")
# What an output can hold besides the text.
ROLES = ("finish_reason", "prompt_tokens", "completion_tokens", "logprobs")


@dataclass(frozen=True, slots=True)
class Binding:
    """How one model is called. `slots` is by OpenAI parameter, `inputs` by tensor name."""

    info: ModelInfo
    profile: Profile
    settings: Settings
    prompt: Slot
    text: str
    slots: Mapping[str, Slot]
    inputs: Mapping[str, Slot]
    packed: Slot | None
    constants: Mapping[str, Any]
    stream: Slot | None
    required: frozenset[str]
    roles: Mapping[str, str]
    strip_prompt: bool
    by_infer: bool
    # The outputs that every infer request asks for; log probabilities are added if they are wanted.
    outputs: tuple[str, ...]
    bare: str | None = None

    def supports(self, parameter: str) -> bool:
        """Tell whether an OpenAI parameter has a place in this model."""
        if self.packed is not None and parameter in self.profile.packed_keys:
            return True
        return parameter in self.slots

    @property
    def guided(self) -> bool:
        """Tell whether an answer can be forced into a form."""
        if self.profile.guided == "guide":
            return {"guided_decoding_guide_type", "guided_decoding_guide"} <= self.inputs.keys()
        return self.profile.guided is not None and self.packed is not None


def bind(
    info: ModelInfo, settings: Settings, operation: str | None = None, bare: str | None = None
) -> Binding:
    """Join a model to its profile. BadRequestError if the model does not take a text and give one.

    `bare` is the URL to call if the server does not describe its model.
    """
    profile = choose(info, settings.profile)
    batched = info.max_batch_size > 0
    inputs = {name: Slot.of(spec, batched=batched) for name, spec in info.inputs.items()}
    prompt = _prompt_input(info, profile, settings)
    text = _text_output(info, profile, settings)
    packed = inputs.get(profile.packed or "")
    excluding = _first(profile.exclude_prompt, inputs)
    stream = _first(profile.stream, inputs)
    constants = _constants(profile, settings, inputs, excluding)
    roles = _roles(info, profile, settings)
    echoes = settings.echoes_prompt
    operation = _operation(settings, operation)
    return Binding(
        info=info,
        profile=profile,
        settings=settings,
        prompt=inputs[prompt],
        text=text,
        slots=_slots(profile, settings, inputs, prompt),
        inputs=inputs,
        packed=packed,
        constants=constants,
        stream=inputs[stream] if stream else None,
        required=_required(info, {prompt, stream, packed.name if packed else None, *constants}),
        roles=roles,
        strip_prompt=(profile.echoes_prompt and not excluding) if echoes is None else echoes,
        by_infer=not info.decoupled and operation != "generate",
        outputs=(text, *(name for role, name in roles.items() if role != "logprobs")),
        bare=bare,
    )


def _slots(profile: Profile, settings: Settings, inputs: Mapping[str, Slot], prompt: str) -> dict[str, Slot]:
    """Return the inputs of the OpenAI parameters: the profile's, unless the settings name others."""
    names = {parameter: _first(candidates, inputs) for parameter, candidates in profile.parameters.items()}
    names |= {parameter: _named(tensor, inputs) for parameter, tensor in settings.parameter_inputs.items()}
    return {parameter: inputs[name] for parameter, name in names.items() if name and name != prompt}


def _constants(
    profile: Profile, settings: Settings, inputs: Mapping[str, Slot], excluding: str | None
) -> dict[str, Any]:
    """Return the values that are the same in every request, by tensor or request parameter."""
    constants = {name: value for name, value in profile.always.items() if name in inputs}
    if excluding:
        constants[excluding] = True
    for name, value in settings.fixed_inputs.items():
        constants[name] = inputs[name].value(name, value) if name in inputs else value
    return constants


def _operation(settings: Settings, operation: str | None) -> str | None:
    operation = settings.operation or operation
    if operation not in OPERATIONS:
        raise BadRequestError("'operation' must be infer or generate", param="operation")
    return operation


def _required(info: ModelInfo, filled: set[str | None]) -> frozenset[str]:
    """Return the inputs that the caller must give, because nothing else fills them."""
    return frozenset(name for name, spec in info.inputs.items() if not spec.optional and name not in filled)


def bare_info(settings: Settings, model: str) -> ModelInfo:
    """Return what is assumed of a model that its server does not describe: LiteLLM's tensors, or the profile's.

    Without a profile only the prompt and the token limit are known to arrive, so nothing else is accepted.
    """
    profile = choose(ModelInfo(model, {}, {}), settings.profile)
    prompt = settings.prompt_input or "text_input"
    inputs = {prompt: TensorSpec(prompt, "BYTES", (1,))}
    if settings.profile:
        named = {parameter: names[0] for parameter, names in profile.parameters.items()}
        flags = [*profile.always, *profile.exclude_prompt[:1]]
    else:
        named, flags = {"max_tokens": "max_tokens"}, []
    if profile.packed:
        inputs[profile.packed] = TensorSpec(profile.packed, "BYTES", (1,), optional=True)
    for parameter, name in (named | dict(settings.parameter_inputs)).items():
        datatype = ASSUMED.get(parameter, "FP32")
        inputs[name] = TensorSpec(name, datatype, (-1,) if datatype == "BYTES" else (1,), optional=True)
    for name in [*flags, profile.stream[0]]:
        inputs[name] = TensorSpec(name, "BOOL", (1,), optional=True)
    text = settings.text_output or "text_output"
    return ModelInfo(model, inputs, {text: TensorSpec(text, "BYTES", (1,))})


def _prompt_input(info: ModelInfo, profile: Profile, settings: Settings) -> str:
    if settings.prompt_input:
        if settings.prompt_input not in info.inputs:
            raise _no_tensor("input", settings.prompt_input, info, "prompt_input")
        return settings.prompt_input
    strings = [name for name, spec in info.inputs.items() if spec.datatype == "BYTES"]
    name = _first(profile.prompt, strings)
    name = name or next((item for item in strings if not info.inputs[item].optional), None)
    if name is None:
        raise BadRequestError(f"model '{info.name}' has no string input for a prompt", param="model")
    return name


def _text_output(info: ModelInfo, profile: Profile, settings: Settings) -> str:
    if settings.text_output:
        if settings.text_output not in info.outputs:
            raise _no_tensor("output", settings.text_output, info, "text_output")
        return settings.text_output
    strings = [name for name, spec in info.outputs.items() if spec.datatype == "BYTES"]
    name = _first(profile.text, strings) or next(iter(strings), None)
    if name is None:
        raise BadRequestError(f"model '{info.name}' has no string output for a completion", param="model")
    return name


def _no_tensor(kind: str, name: str, info: ModelInfo, param: str) -> BadRequestError:
    known = ", ".join(info.inputs if kind == "input" else info.outputs)
    return BadRequestError(f"model '{info.name}' has no {kind} '{name}'; it has {known}", param=param)


def _roles(info: ModelInfo, profile: Profile, settings: Settings) -> dict[str, str]:
    roles = {}
    for role in ROLES:
        candidates: Names = (profile.logprobs_output,) if role == "logprobs" else getattr(profile, role)
        name = settings.output_names.get(role) or _first(candidates, info.outputs)
        if name:
            roles[role] = name
    return roles


def _first(candidates: Names, present: Any) -> str | None:
    return next((name for name in candidates if name in present), None)


def _named(tensor: str, inputs: Mapping[str, Slot]) -> str:
    if tensor not in inputs:
        raise UnsupportedParameterError(
            f"the model has no input '{tensor}'; it has {', '.join(inputs)}", param="parameter_inputs"
        )
    return tensor
