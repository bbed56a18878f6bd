"""OpenAI's request parameters as tables: the check of each, and where its value goes."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from triton_adapter.errors import BadRequestError

LARGEST = sys.float_info.max
Check = Callable[[Any], bool]


def is_int(value: Any) -> bool:
    """Tell whether a value is an integer; a boolean is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number; a boolean is not."""
    return (is_int(value) or isinstance(value, float)) and -LARGEST <= value <= LARGEST


def _between(low: float, high: float) -> Check:
    return lambda value: is_number(value) and low <= value <= high


def _int_between(low: int, high: int) -> Check:
    return lambda value: is_int(value) and low <= value <= high


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_strings(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def _is_stop(value: Any) -> bool:
    stops = [value] if isinstance(value, str) else value
    return _is_strings(value) and len(stops) <= 4 and "" not in stops


def _is_bias(value: Any) -> bool:
    return isinstance(value, dict) and all(
        str(key).isdigit() and is_number(bias) and -100 <= bias <= 100 for key, bias in value.items()
    )


CHECKS: Mapping[str, tuple[Check, str]] = {
    "max_tokens": (_int_between(1, 2**31 - 1), "an integer of 1 or more"),
    "max_completion_tokens": (_int_between(1, 2**31 - 1), "an integer of 1 or more"),
    "min_tokens": (_int_between(0, 2**31 - 1), "an integer of 0 or more"),
    "temperature": (_between(0, 2), "a number from 0 to 2"),
    "top_p": (_between(0, 1), "a number from 0 to 1"),
    "top_k": (_int_between(-1, 2**31 - 1), "an integer"),
    "min_p": (_between(0, 1), "a number from 0 to 1"),
    "presence_penalty": (_between(-2, 2), "a number from -2 to 2"),
    "frequency_penalty": (_between(-2, 2), "a number from -2 to 2"),
    "repetition_penalty": (is_number, "a number"),
    "length_penalty": (is_number, "a number"),
    "seed": (_int_between(-(2**63), 2**64 - 1), "an integer"),
    "n": (_int_between(1, 128), "an integer from 1 to 128"),
    "best_of": (_int_between(1, 128), "an integer from 1 to 128"),
    "stop": (_is_stop, "a string, or a list of at most 4 strings, none of them empty"),
    "bad_words": (_is_strings, "a string or a list of strings"),
    "logit_bias": (_is_bias, "an object from token id to a number from -100 to 100"),
    "top_logprobs": (_int_between(0, 20), "an integer from 0 to 20"),
    "stream": (_is_bool, "a boolean"),
    "stream_options": (_is_object, "an object"),
    "response_format": (_is_object, "an object"),
    "parallel_tool_calls": (_is_bool, "a boolean"),
    "echo": (_is_bool, "a boolean"),
    "suffix": (_is_string, "a string"),
    "user": (_is_string, "a string"),
    "metadata": (_is_object, "an object"),
    "store": (_is_bool, "a boolean"),
    "service_tier": (_is_string, "a string"),
    "extra_body": (_is_object, "an object"),
    "model": (_is_string, "a string"),
    "chat_template_kwargs": (_is_object, "an object"),
}

# Values that change nothing: the parameter is treated as absent.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "n": (1,),
    "logit_bias": ({},),
    "stop": ([],),
    "bad_words": ([],),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "parallel_tool_calls": (True,),
    "suffix": ("",),
    "tools": ([],),
    "extra_body": ({},),
    "modalities": (["text"],),
}

# Sampling parameters: they reach the model through its profile's tables, under these names.
SAMPLING = frozenset(
    {
        "max_tokens",
        "min_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "length_penalty",
        "seed",
        "bad_words",
        "logit_bias",
    }
)

# OpenAI parameters that no Triton backend supports: refused by name unless the model has an input of that name.
OPENAI_ONLY = frozenset(
    {
        "audio",
        "function_call",
        "functions",
        "modalities",
        "prediction",
        "prompt_cache_key",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "suffix",
        "verbosity",
        "web_search_options",
    }
)


def checked(name: str, value: Any) -> Any:
    """Return the value. BadRequestError names the parameter if it is not what the table says."""
    rule = CHECKS.get(name)
    if rule is not None and not rule[0](value):
        raise BadRequestError(f"'{name}' must be {rule[1]}", param=name, code="invalid_value")
    return value
