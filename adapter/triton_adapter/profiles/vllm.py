"""The vLLM backend: always decoupled, every sampling parameter inside one JSON string.

The JSON string is always sent: without it the backend reads the request's parameters as sampling parameters, and a
key that vLLM does not know breaks the request. When `stream` is false it repeats the prompt unless told not to.
"""

from triton_adapter.profiles.profile import Profile

_SAME_NAME = (
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "stop",
    "bad_words",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "n",
    "logit_bias",
    "ignore_eos",
    "stop_token_ids",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "include_stop_str_in_output",
    "lora_name",
)

VLLM = Profile(
    name="vllm",
    backend="vllm",
    marks=(("text_input",), ("sampling_parameters",)),
    packed="sampling_parameters",
    packed_keys={name: name for name in _SAME_NAME},
    always={
        "return_finish_reason": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    },
    stream=("stream",),
    exclude_prompt=("exclude_input_in_output",),
    echoes_prompt=True,
    counts_are_deltas=True,
    logprobs="vllm",
    logprobs_input="return_logprobs",
    logprobs_output="logprobs",
    guided="structured_outputs",
    images={"image": "base64"},
)
