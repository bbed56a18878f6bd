"""The TensorRT-LLM backend's LLM-API model, whose sampling inputs are called `sampling_param_*`.

Its input `stop` is a BOOL that cancels a request; stop words go to `sampling_param_stop`.
"""

from triton_adapter.profiles.profile import Profile

TRTLLM_LLMAPI = Profile(
    name="trtllm_llmapi",
    marks=(("text_input",), ("sampling_param_max_tokens",)),
    parameters={
        name: (f"sampling_param_{name}",)
        for name in (
            "max_tokens",
            "min_tokens",
            "temperature",
            "top_p",
            "top_k",
            "stop",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "length_penalty",
            "best_of",
        )
    }
    | {"n": ("sampling_param_n",)},
    always={"return_finish_reason": True},
    stream=("streaming", "stream"),
    exclude_prompt=("sampling_param_exclude_input_from_output",),
    echoes_prompt=True,
    images={"image_url": "url"},
)
