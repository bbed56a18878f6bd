"""The TensorRT-LLM backend's `ensemble` and `tensorrt_llm_bls` models, from their public config.pbtxt files."""

from triton_adapter.profiles.profile import Profile

TRTLLM = Profile(
    name="trtllm",
    marks=(
        ("text_input",),
        ("max_tokens",),
        ("stop_words", "bad_words", "end_id", "beam_width", "return_log_probs"),
    ),
    parameters={
        "max_tokens": ("max_tokens",),
        "min_tokens": ("min_tokens", "min_length"),
        "temperature": ("temperature",),
        "top_p": ("top_p",),
        "top_k": ("top_k",),
        "stop": ("stop_words",),
        "bad_words": ("bad_words",),
        "seed": ("seed", "random_seed"),
        "presence_penalty": ("presence_penalty",),
        "frequency_penalty": ("frequency_penalty",),
        "repetition_penalty": ("repetition_penalty",),
        "length_penalty": ("length_penalty",),
        "n": ("num_return_sequences",),
    },
    always={"return_num_input_tokens": True, "return_num_output_tokens": True},
    stream=("stream", "streaming"),
    exclude_prompt=("exclude_input_in_output",),
    echoes_prompt=True,
    logprobs="numbers",
    logprobs_input="return_log_probs",
    logprobs_output="output_log_probs",
    guided="guide",
    images={"image_url_input": "url", "image_bytes_input": "base64"},
)
