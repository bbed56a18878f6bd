"""The values of flags: how tritonserver reads a flag's argument, and the messages with which it refuses one."""

from collections.abc import Callable

from triton_emulator.clock import check_clock
from triton_emulator.cxx.numbers import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    UINT64_MAX,
    stod,
    stoi,
    to_uint64,
)
from triton_emulator.protocol.personality import RELEASES
from triton_emulator.settings import MOST_GPUS, MOST_WORKERS, RESTRICTED_CATEGORIES, RestrictedApis

TRACE_MODES = ("triton", "opentelemetry")
#: The trace level by the word that means it; upper and lower case are the same.
TRACE_LEVELS = {
    **dict.fromkeys(("false", "off"), "OFF"),
    **dict.fromkeys(("true", "on", "min", "max", "timestamps"), "TIMESTAMPS"),
    "tensors": "TENSORS",
}


class BadValue(Exception):
    """A value that a flag refuses; the text is tritonserver's."""


def boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "1"):
        return True
    if lowered in ("false", "0"):
        return False
    raise BadValue(f"invalid value for bool option: {text}")


def _integer(text: str, low: int, high: int) -> int:
    try:
        return stoi(text, low, high)
    except ValueError:
        raise BadValue(f"Invalid option value. Got {text}\n") from None
    except OverflowError:
        raise BadValue(f"Provided option value is out of bound. Got {text}\n") from None


def int32(text: str) -> int:
    return _integer(text, INT32_MIN, INT32_MAX)


def int64(text: str) -> int:
    return _integer(text, INT64_MIN, INT64_MAX)


def replay_timing(text: str) -> str | float:
    """One of the words none and recorded, or a number."""
    if text in ("none", "recorded"):
        return text
    try:
        return float(text)
    except ValueError:
        raise BadValue(f"Invalid option value. Got {text}\n") from None


def simulated_gpus(text: str) -> int | None:
    """A number of GPUs, or None for "auto"."""
    if text == "auto":
        return None
    number = int32(text)
    if not 0 <= number <= MOST_GPUS:
        raise BadValue(f"--simulated-gpus takes auto or a number from 0 to {MOST_GPUS}, not {text}")
    return number


def workers(text: str) -> int:
    """A number of processes."""
    number = int32(text)
    if not 1 <= number <= MOST_WORKERS:
        raise BadValue(f"--workers takes a number from 1 to {MOST_WORKERS}, not {text}")
    return number


def clock(text: str) -> str | float:
    """A word, or how many real seconds one second takes."""
    try:
        return check_clock(text if text in ("real", "virtual") else float(text))
    except ValueError:
        raise BadValue(f"--clock takes real, virtual or a number above 0, such as 0.01, not {text}") from None


def fault(text: str) -> str:
    """A plan: a fault, and which requests meet it. It is read again by each session."""
    from triton_emulator.harness.given_text import plan_of_text  # imports numpy, which --help does without

    try:
        plan_of_text(text)
    except ValueError as error:
        raise BadValue(f"{text}: {error}") from None
    return text


def body_size(text: str) -> int:
    """A number of bytes, 0 for no limit."""
    size = int64(text)
    if size < 0:
        raise BadValue(f"a request body has at least 0 bytes, not {text}; 0 is no limit")
    return size


def triton_version(name: str) -> Callable[[str], str]:
    """A converter that takes only the releases of Triton."""

    def convert(text: str) -> str:
        if text not in RELEASES:
            raise BadValue(f"--{name} knows no tritonserver {text!r}; it is one of {', '.join(RELEASES)}")
        return text

    return convert


def positive(name: str, read: Callable[[str], int]) -> Callable[[str], int]:
    """A converter that takes only numbers above 0."""

    def convert(text: str) -> int:
        number = read(text)
        if number <= 0:
            raise BadValue(f"Error: --{name} must be greater than 0.")
        return number

    return convert


def thread_count(text: str) -> int:
    """The number of threads for inference over gRPC."""
    count = int32(text)
    if not 2 <= count <= 128:
        raise BadValue("invalid argument for --grpc_infer_thread_count. Must be in the range 2 to 128.")
    return count


def uint64(text: str) -> int:
    # std::stoull takes a minus sign and wraps.
    return to_uint64(_integer(text, -UINT64_MAX, UINT64_MAX))


def verbosity(text: str) -> int:
    """A number, or true and false for 1 and 0."""
    return {"true": 1, "false": 0}[text.lower()] if text.lower() in ("true", "false") else int32(text)


def double(text: str) -> float:
    try:
        return stod(text)
    except ValueError:
        raise BadValue(f"Invalid option value. Got {text}\n") from None
    except OverflowError:
        raise BadValue(f"Provided option value is out of bound. Got {text}\n") from None


def text(value: str) -> str:
    return value


def one_of(*choices: str, name: str, fold: bool = False, own: bool = False) -> Callable[[str], str]:
    """A converter that takes only these words; with `fold`, in upper or lower case.

    The error of a flag that is the emulator's `own`, and not tritonserver's, names the words.
    """

    def convert(value: str) -> str:
        word = value.lower() if fold else value
        if word not in choices:
            advice = f": it is {', '.join(choices[:-1])} or {choices[-1]}, not {value}" if own else ""
            raise BadValue(f"invalid argument for --{name}{advice}")
        return word

    return convert


def non_empty(name: str) -> Callable[[str], str]:
    def convert(value: str) -> str:
        if not value:
            raise BadValue(f"Error: empty argument for --{name}")
        return value

    return convert


def pair(
    separator: str, first: Callable[[str], object], second: Callable[[str], object]
) -> Callable[[str], object]:
    """A converter for `<first><separator><second>`."""

    def convert(value: str) -> object:
        left, found, right = value.partition(separator)
        if not found:
            raise BadValue(
                "Cannot parse pair option due to incorrect number of inputs."
                f"--<pair option> argument requires format <first>{separator}<second>. Found: {value}\n"
            )
        return first(left), second(right)

    return convert


def setting(name: str) -> Callable[[str], tuple[str, str]]:
    """A converter for `<setting>=<value>`."""

    def convert(value: str) -> tuple[str, str]:
        key, _, found = value.partition("=")
        if "," in key or not key or not found:
            raise BadValue(f"--{name} option format is <setting>=<value>. Got {value}\n")
        return key, found

    return convert


def named_setting(
    name: str, what: str, kind: str, *, required: bool
) -> Callable[[str], tuple[str, str, str]]:
    """A converter for `<what>,<setting>=<value>`. If the name is not `required` it may be left out, and is "" then."""

    def convert(value: str) -> tuple[str, str, str]:
        owner, comma, rest = value.partition(",")
        if not comma:
            owner, rest = "", value
        if not owner and (comma or required):
            options = "" if required else " or <setting>=<value>"
            raise BadValue(
                f"No {kind} specified. --{name} option format is <{what}>,<setting>=<value>{options}. Got {value}\n"
            )
        key, _, found = rest.partition("=")
        if not key or not found:
            raise BadValue(f"--{name} option format is '<{what}>,<setting>=<value>'. Got {value}\n")
        return owner, key, found

    return convert


def generic_setting(name: str, what: str, delimiter: str) -> Callable[[str], tuple[str, str, str]]:
    """A converter for `<what><delimiter><setting>=<value>`; every part is required."""

    def convert(value: str) -> tuple[str, str, str]:
        owner, _, rest = value.partition(delimiter)
        key, _, found = rest.partition("=")
        if not owner or not key or not found:
            raise BadValue(f"--{name} option format is '<{what}>{delimiter}<setting>=<value>'. Got {value}\n")
        return owner, key, found

    return convert


def restricted(name: str, noun: str) -> Callable[[str], RestrictedApis]:
    """A converter for `<api>,<api>:<header>=<value>`. The caller checks that no API is in two groups."""
    split = generic_setting(name, "config name", ":")

    def convert(value: str) -> RestrictedApis:
        names, header, expected = split(value)
        apis: set[str] = set()
        for api in names.split(","):
            if api not in RESTRICTED_CATEGORIES:
                raise BadValue(f"unknown restricted {noun} '{api}' \n")
            if api in apis:
                raise BadValue(in_two_groups(noun, api))
            apis.add(api)
        return RestrictedApis(frozenset(apis), header, expected)

    return convert


def in_two_groups(noun: str, api: str) -> str:
    return f"restricted {noun} '{api}' can not be specified in multiple config groups\n"


def rate_limit_resource(value: str) -> tuple[str, int, int]:
    """`<resource>:<count>[:<device>]`; without a device, which means all of them, the device is -1."""
    parts = value.split(":")
    if len(parts) not in (2, 3):
        raise BadValue(
            "--rate-limit-resource option format is '<resource_name>:<count>:<device>' or '<resource_name>:<count>'. "
            f"Got {value}"
        )
    return parts[0], int32(parts[1]), int32(parts[2]) if len(parts) == 3 else -1


def trace_level(value: str) -> str:
    level = TRACE_LEVELS.get(value.lower())
    if level is None:
        raise BadValue(f"invalid value for trace level option: {value}")
    return level


def trace_mode(value: str) -> str:
    mode = value.lower()
    if mode not in TRACE_MODES:
        raise BadValue(
            f'invalid value for trace mode option: {mode}. Available options are "triton" and "opentelemetry"'
        )
    return mode


#: The settings of --trace-config that every mode has, with their converters. They are read after the last flag.
TRACE_SETTINGS: dict[str, Callable[[str], object]] = {
    "level": trace_level,
    "rate": int32,
    "count": int32,
    "mode": trace_mode,
}
#: The settings of one mode that must be numbers.
TRACE_MODE_NUMBERS: dict[tuple[str, str], Callable[[str], int]] = {
    ("triton", "log-frequency"): int32,
    ("opentelemetry", "bsp_max_queue_size"): int32,
    ("opentelemetry", "bsp_schedule_delay"): int32,
    ("opentelemetry", "bsp_max_export_batch_size"): int32,
}
_split_trace = named_setting("trace-config", "trace mode", "trace mode", required=False)


def trace_config(value: str) -> tuple[str, str, str]:
    """`<mode>,<setting>=<value>`, or `<setting>=<value>` (mode "") for all modes; the value is not checked yet."""
    mode, key, found = _split_trace(value)
    return (trace_mode(mode) if mode else ""), key, found
