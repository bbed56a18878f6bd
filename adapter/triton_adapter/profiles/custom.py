"""Any other model: its inputs and outputs are found by the names that are common for them."""

from triton_adapter.profiles.profile import Profile

CUSTOM = Profile(
    name="custom",
    prompt=(
        "text_input",
        "prompt",
        "PROMPT",
        "TEXT",
        "text",
        "INPUT_TEXT",
        "input_text",
        "INPUT_0",
        "INPUT0",
    ),
    text=(
        "text_output",
        "output_text",
        "generated_text",
        "OUTPUT_TEXT",
        "response",
        "text",
        "OUTPUT_0",
        "OUTPUT0",
    ),
    parameters={
        "max_tokens": (
            "max_tokens",
            "max_new_tokens",
            "max_completion_tokens",
            "request_output_len",
            "MAX_TOKENS",
        ),
        "min_tokens": ("min_tokens", "min_length"),
        "temperature": ("temperature", "TEMPERATURE"),
        "top_p": ("top_p", "runtime_top_p", "TOP_P"),
        "top_k": ("top_k", "runtime_top_k", "TOP_K"),
        "min_p": ("min_p",),
        "stop": ("stop_words", "stop", "stop_sequences"),
        "bad_words": ("bad_words",),
        "seed": ("seed", "random_seed", "SEED"),
        "presence_penalty": ("presence_penalty",),
        "frequency_penalty": ("frequency_penalty",),
        "repetition_penalty": ("repetition_penalty",),
        "length_penalty": ("length_penalty", "len_penalty"),
        "n": ("n", "num_return_sequences"),
        "best_of": ("best_of",),
    },
    always={
        "return_finish_reason": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    },
    exclude_prompt=("exclude_input_in_output",),
)
