"""The schema of LiteLLM's `config.yaml`, as tables: keys that are used, keys without effect, keys that are refused.

`RULES` holds, by section, each key's check and what a value must be. A key in `WITHOUT_EFFECT` is accepted with a
warning, one in `REFUSED` is a mistake with a fix; any other key is a mistake.
"""

from collections.abc import Callable, Mapping
from typing import Any

from triton_adapter.openai.parameters import CHECKS, OPENAI_ONLY, SAMPLING, is_int, is_number
from triton_adapter.settings import SETTING_TYPES

Rule = tuple[Callable[[Any], bool], str]

STRATEGIES = (
    "simple-shuffle",
    "least-busy",
    "latency-based-routing",
    "usage-based-routing",
    "usage-based-routing-v2",
)
# Larger than any number of seconds, bytes or requests that makes sense.
MOST = 1e12


def _is_amount(value: Any) -> bool:
    return is_number(value) and -MOST < value < MOST


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_fallbacks(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict) and all(map(_is_text, item)) and all(map(_is_texts, item.values()))
        for item in value
    )


def _is_aliases(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_text(name) and (_is_text(to) or (isinstance(to, dict) and _is_text(to.get("model"))))
        for name, to in value.items()
    )


def is_header(value: Any) -> bool:
    """Tell whether a value may be a header's: printable ASCII."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _is_headers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_text(name) and is_header(name) and not set(" :") & set(name) and is_header(text)
        for name, text in value.items()
    )


TEXT: Rule = (_is_text, "a string")
TEXTS: Rule = (_is_texts, "a list of strings")
FLAG: Rule = (lambda value: isinstance(value, bool), "true or false")
COUNT: Rule = (lambda value: is_int(value) and 0 <= value < MOST, "an integer of 0 or more")
LIMIT: Rule = (lambda value: is_int(value) and 1 <= value < MOST, "an integer of 1 or more")
WEIGHT: Rule = (lambda value: _is_amount(value) and value >= 0, "a number of 0 or more")
SECONDS: Rule = (lambda value: _is_amount(value) and value > 0, "a number of seconds above 0")
PAUSE: Rule = (lambda value: _is_amount(value) and value >= 0, "a number of seconds")
MAPPING: Rule = (lambda value: isinstance(value, dict), "a mapping")
SECRET: Rule = (
    lambda value: _is_text(value) and is_header(value),
    "a string of printable ASCII (a line break at its end?)",
)
HEADERS: Rule = (_is_headers, "a mapping of header names to strings of printable ASCII")
FALLBACKS: Rule = (_is_fallbacks, "a list like [{name: [other-name]}]")
ALIASES: Rule = (_is_aliases, "a mapping of names to model names")
ANYTHING: Rule = (lambda _: True, "anything")

RULES: Mapping[str, Mapping[str, Rule]] = {
    "": {
        "model_list": (lambda value: isinstance(value, list) and bool(value), "a list of models"),
        "litellm_settings": MAPPING,
        "router_settings": MAPPING,
        "general_settings": MAPPING,
        "environment_variables": MAPPING,
    },
    "model": {"model_name": TEXT, "litellm_params": MAPPING, "model_info": MAPPING},
    "litellm_params": {
        "model": TEXT,
        "api_base": TEXT,
        "api_key": SECRET,
        "extra_headers": HEADERS,
        "headers": HEADERS,
        "timeout": SECONDS,
        "stream_timeout": SECONDS,
        "max_retries": COUNT,
        "rpm": LIMIT,
        "tpm": LIMIT,
        "max_parallel_requests": LIMIT,
        "weight": WEIGHT,
        "order": COUNT,
        "drop_params": FLAG,
        "allowed_openai_params": TEXTS,
        "custom_llm_provider": (lambda value: value == "triton", "triton"),
    },
    "litellm_settings": {
        "drop_params": FLAG,
        "request_timeout": SECONDS,
        "num_retries": COUNT,
        "fallbacks": FALLBACKS,
        "context_window_fallbacks": FALLBACKS,
        "default_fallbacks": TEXTS,
        "allowed_fails": COUNT,
        "cooldown_time": PAUSE,
        "require_auth_for_metrics_endpoint": FLAG,
        "ssl_verify": (lambda value: isinstance(value, (bool, str)), "true, false or the path of a PEM file"),
        "ssl_certificate": TEXT,
        "callbacks": ANYTHING,
        "success_callback": ANYTHING,
        "failure_callback": ANYTHING,
    },
    "router_settings": {
        "routing_strategy": (lambda value: value in STRATEGIES, f"one of {', '.join(STRATEGIES)}"),
        "num_retries": COUNT,
        "retry_after": PAUSE,
        "timeout": SECONDS,
        "stream_timeout": SECONDS,
        "allowed_fails": COUNT,
        "cooldown_time": PAUSE,
        "disable_cooldowns": FLAG,
        "fallbacks": FALLBACKS,
        "context_window_fallbacks": FALLBACKS,
        "default_fallbacks": TEXTS,
        "model_group_alias": ALIASES,
        "retry_policy": MAPPING,
    },
    "retry_policy": {},
    "general_settings": {
        "master_key": SECRET,
        "database_url": TEXT,
        "completion_model": TEXT,
        "max_parallel_requests": LIMIT,
        "global_max_parallel_requests": LIMIT,
        "max_in_flight_requests_per_worker": LIMIT,
        "max_request_size_mb": (lambda value: _is_amount(value) and value > 0, "a number above 0"),
        "cors_allow_origins": TEXTS,
        "drain_seconds": PAUSE,
        # nginx' names and defaults.
        "client_header_timeout": SECONDS,
        "client_body_timeout": SECONDS,
        "send_timeout": SECONDS,
    },
}

# The classes of errors whose retries LiteLLM's `retry_policy` counts one by one.
RETRY_POLICY: Mapping[str, str] = {
    "BadRequestErrorRetries": "BadRequestError",
    "AuthenticationErrorRetries": "AuthenticationError",
    "TimeoutErrorRetries": "APITimeoutError",
    "RateLimitErrorRetries": "RateLimitError",
    "InternalServerErrorRetries": "ServerError",
}

_LOGS = "the proxy writes its own log; see --detailed_debug"
_CACHE = "replies are not cached"
_COSTS = "costs are not counted; budgets are in requests and tokens"
_LIMITS = "a key's limits are set by /key/generate"
_REDIS = "limits and cool-downs are kept in each process"
WITHOUT_EFFECT: Mapping[str, Mapping[str, str]] = {
    "": {
        "credential_list": "Triton takes api_key and extra_headers",
        "guardrails": "guardrails are not supported",
    },
    "model": {},
    "litellm_params": {
        "input_cost_per_token": _COSTS,
        "output_cost_per_token": _COSTS,
        "tags": "requests are not routed by tag",
        "base_model": _COSTS,
        "max_budget": _COSTS,
        "budget_duration": _COSTS,
        "default_api_key_rpm_limit": _LIMITS,
        "default_api_key_tpm_limit": _LIMITS,
        "merge_reasoning_content_in_choices": "Triton does not mark reasoning",
        "region_name": "Triton has none",
        "use_in_pass_through": "there are no such routes",
        "api_version": "Triton has none",
        "organization": "Triton has none",
    },
    "litellm_settings": {
        "cache": _CACHE,
        "cache_params": _CACHE,
        "set_verbose": _LOGS,
        "json_logs": _LOGS,
        "turn_off_message_logging": "messages are never logged",
        "redact_user_api_key_info": "keys are never logged",
        "suppress_debug_info": _LOGS,
        "modify_params": "parameters are sent as they are or refused",
        "max_budget": _COSTS,
        "budget_duration": _COSTS,
        "telemetry": "there is no telemetry",
    },
    "router_settings": {
        "redis_url": _REDIS,
        "redis_host": _REDIS,
        "redis_port": _REDIS,
        "redis_password": _REDIS,
        "enable_pre_call_checks": "the model's own limits decide",
        "enable_tag_filtering": "requests are not routed by tag",
        "routing_strategy_args": "the strategies take no arguments",
        "cache_responses": _CACHE,
        "set_verbose": _LOGS,
        "debug_level": _LOGS,
    },
    "general_settings": {
        "alerting": "alerts are not sent; use the metrics",
        "alerting_threshold": "alerts are not sent; use the metrics",
        "background_health_checks": "health is checked when /health is requested",
        "health_check_interval": "health is checked when /health is requested",
        "disable_spend_logs": _COSTS,
        "store_model_in_db": "models come from the file only",
        "proxy_batch_write_at": "the use of keys is written every second",
        "database_connection_pool_limit": "the key store is a file",
    },
}

_TEMPLATE = "give the whole template: chat_template: chatml (a built-in's name, a file or Jinja text)"
REFUSED: Mapping[str, Mapping[str, str]] = {
    "": {"include": "put the models into one file", "router_setting": "write router_settings"},
    "model": {},
    "litellm_params": {
        "roles": _TEMPLATE,
        "initial_prompt_value": _TEMPLATE,
        "final_prompt_value": _TEMPLATE,
        "messages": "each request has its own",
        "input": "each request has its own",
        "prompt": "each request has its own",
        "stream": "a request says whether it wants a stream",
        "base_url": "write api_base",
        "cooldown_time": "write router_settings.cooldown_time",
        "fallbacks": "write router_settings.fallbacks",
        "mock_response": "answers are Triton's, or the emulator's",
        "litellm_credential_name": "write api_key: os.environ/NAME",
    },
    "litellm_settings": {},
    "router_settings": {},
    "general_settings": {
        "custom_auth": "use the master key and keys made by /key/generate",
        "key_management_system": "take secrets from the environment: os.environ/NAME",
    },
}

# Names of request parameters that `litellm_params` may give a default for.
BODY_PARAMETERS = frozenset(CHECKS) | SAMPLING | OPENAI_ONLY | {"tools", "tool_choice", "logprobs"}
LITELLM_PARAMS = frozenset(RULES["litellm_params"]) | frozenset(SETTING_TYPES) | BODY_PARAMETERS
