"""LiteLLM's config.yaml: how it is read, and how each mistake in it is reported with its line and its fix."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from triton_adapter.openai.parameters import CHECKS
from triton_adapter.proxy import Config, ConfigError, read_config, read_file
from triton_adapter.proxy.config.schema import RULES

ONE = """\
model_list:
  - model_name: m
    litellm_params:
      model: triton/m
      api_base: http://triton:8000
"""


def read(text: str, **environ: str) -> Config:
    return read_config(text, environ)


def mistakes(text: str, **environ: str) -> list[str]:
    """The mistakes of a config, one in each line."""
    with pytest.raises(ConfigError) as caught:
        read_config(text, environ)
    return str(caught.value).splitlines()


def test_the_stray_quote_and_the_placeholder_of_the_documentation_pages_config_are_reported() -> None:
    page = (
        "model_list:\n"
        "  - model_name: my-triton-model\n"
        "    litellm_params:\n"
        '      model: triton/<your-triton-model>"\n'
        "      api_base: https://your-triton-api-base/triton/generate\n"
    )
    where = "config.yaml:4: model_list[0].litellm_params.model: "
    assert mistakes(page) == [
        f"{where}a stray quote: write model: triton/<your-triton-model>",
        f"{where}a placeholder: write the model's name as Triton has it, model: triton/NAME",
    ]


def test_every_setting_of_a_deployment_in_litellm_is_read() -> None:
    entry = read(
        ONE
        + """\
      api_key: os.environ/KEY
      extra_headers: {x-tenant: t1}
      timeout: 5
      stream_timeout: 2.5
      max_retries: 1
      rpm: 10
      tpm: 2000
      max_parallel_requests: 3
      weight: 2
      order: 1
      drop_params: true
      allowed_openai_params: [user]
      profile: trtllm
      chat_template: chatml
      temperature: 0.2
      my_input: 5
    model_info: {id: first, mode: chat}
""",
        KEY="secret",
    ).models[0]
    target = entry.make_target(entry.model)
    assert (entry.name, entry.id, entry.info["mode"]) == ("m", "first", "chat")
    assert (entry.rpm, entry.tpm, entry.max_parallel, entry.max_retries) == (10, 2000, 3, 1)
    assert (entry.weight, entry.order, entry.drop_params, entry.allowed_params) == (2, 1, True, ("user",))
    assert entry.defaults == {"temperature": 0.2, "my_input": 5}
    assert (target.model, target.timeout, target.silence, target.retries) == ("m", 5.0, 2.5, 0)
    assert target.headers == {"Authorization": "Bearer secret", "x-tenant": "t1"}
    assert (target.settings.profile, target.settings.chat_template) == ("trtllm", "chatml")


def test_the_other_sections_are_read() -> None:
    config = read(
        ONE
        + """\
litellm_settings: {drop_params: true, request_timeout: 30, num_retries: 1, callbacks: [prometheus]}
router_settings:
  routing_strategy: least-busy
  num_retries: 4
  retry_after: 2
  allowed_fails: 1
  cooldown_time: 9
  fallbacks: [{m: [n]}, {"*": [m]}]
  context_window_fallbacks: [{m: [n]}]
  model_group_alias: {gpt-4: m, gpt-3: {model: m, hidden: true}, n: m}
  retry_policy: {RateLimitErrorRetries: 3, InternalServerErrorRetries: 0}
general_settings:
  master_key: os.environ/MASTER
  database_url: sqlite:///keys.db
  completion_model: m
  global_max_parallel_requests: 50
  max_request_size_mb: 0.5
  cors_allow_origins: [https://a.example]
  drain_seconds: 5
""",
        MASTER="sk-x",
    )
    router = config.router
    assert (router.strategy, router.num_retries, router.retry_after) == ("least-busy", 4, 2)
    assert (router.allowed_fails, router.cooldown_time) == (1, 9)
    assert router.fallbacks == {"m": ("n",), "*": ("m",)}
    assert router.context_window_fallbacks == {"m": ("n",)}
    assert router.aliases == {"gpt-4": "m", "gpt-3": "m", "n": "m"}
    assert router.hidden_aliases == {"gpt-3"}
    assert router.retry_policy == {"RateLimitError": 3, "ServerError": 0}
    assert (config.master_key, config.database, config.completion_model) == ("sk-x", "keys.db", "m")
    assert (config.max_parallel_requests, config.max_body, config.drain_seconds) == (50, 524288, 5.0)
    assert config.cors_allow_origins == ("https://a.example",)
    assert config.warnings == ()
    entry = config.models[0]
    assert (entry.drop_params, entry.make_target("triton/m").timeout) == (True, 30.0)


def test_variables_may_be_set_in_the_config_itself() -> None:
    text = ONE + "general_settings: {master_key: os.environ/MK}\nenvironment_variables: {MK: sk-there}\n"
    assert read(text).master_key == "sk-there"


def test_litellms_own_variable_is_the_master_key_where_none_is_written() -> None:
    assert read(ONE, LITELLM_MASTER_KEY="sk-env").master_key == "sk-env"


@pytest.mark.parametrize("base", ["http://t:8000/", "http://t:8000/generate", "http://t/x/infer", "t:8000"])
def test_every_form_of_api_base_is_taken(base: str) -> None:
    assert read(ONE.replace("http://triton:8000", base)).models[0].api_base == base


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["config.yaml: a config is a mapping that begins with model_list:"]),
        ("- a\n", ["config.yaml:1: a config is a mapping that begins with model_list:"]),
        ("a: [\n", ["config.yaml:2: this is not YAML: expected the node content, but found '<stream end>'"]),
        ("a: 1\na: 2\n", ["config.yaml:2: this is not YAML: 'a' is given twice"]),
        ("\x00", ["config.yaml: this is not YAML: the file holds characters that YAML does not allow"]),
        (
            ONE + "general_settings:\n  master_key: 2026-13-45\n",
            [
                (
                    "config.yaml:7: this is not YAML: this is not a valid value of type timestamp:"
                    " put it in quotes"
                )
            ],
        ),
        (
            ONE + "      timeout: !!int soon\n",
            ["config.yaml:6: this is not YAML: this is not a valid value of type int: put it in quotes"],
        ),
        (
            ONE + f"    model_info: {{id: 0x{'f' * 5000}}}\n",
            ["config.yaml:6: this is not YAML: a number has too many digits"],
        ),
        ("a: " + "[" * 3000, ["config.yaml: this is not YAML: brackets are nested too deeply"]),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{two}: &{two} [{','.join([f'*{one}'] * 10)}]\n" for one, two in pairwise("abcdefgh")),
            ["config.yaml:1: this is not YAML: there are more than 100000 values; aliases count each time"],
        ),
        *(
            (
                f"{ONE}      {key}: {value}\n",
                [f"config.yaml:6: model_list[0].litellm_params.{key}: {told}"],
            )
            for key, value, told in (
                (
                    "profile",
                    "tensorrt",
                    "setting 'profile' must be one of trtllm, trtllm_llmapi, vllm, custom",
                ),
                ("operation", "ask", "setting 'operation' must be one of infer, generate, embeddings"),
                (
                    "tool_parser",
                    "llama",
                    "setting 'tool_parser' must be one of llama3, mistral, hermes, qwen",
                ),
                ("pooling", "max", "setting 'pooling' must be one of mean, cls, last"),
                ("default_max_tokens", "-5", "setting 'default_max_tokens' must be 1 or more"),
                ("tokenizer", "/nowhere.json", "the configured tokenizer cannot be read"),
                (
                    "chat_template",
                    "'{{ a'",
                    (
                        "the chat template does not compile: unexpected end of template,"
                        " expected 'end of print statement'."
                    ),
                ),
            )
        ),
        ("general_settings: {}\n", ["config.yaml:1: there is no model_list: nothing could be served"]),
        ("model_list: []\n", ["config.yaml:1: model_list: must be a list of models"]),
        (
            "model_list: [5]\n",
            ["config.yaml:1: model_list[0]: must be a mapping with model_name and litellm_params"],
        ),
        (
            "model_list:\n  - model_name: m\n",
            ["config.yaml:2: model_list[0]: litellm_params is missing"],
        ),
        (
            "model_list:\n  - model_name: m\n    litellm_params: {}\n",
            [
                "config.yaml:3: model_list[0].litellm_params: model is missing: write model: triton/NAME",
                "config.yaml:3: model_list[0].litellm_params: api_base is missing: write api_base: http://HOST:8000",
            ],
        ),
        (
            ONE.replace("model_name", "modle_name"),
            [
                "config.yaml:2: model_list[0].modle_name: unknown key; did you mean model_name?",
                "config.yaml:2: model_list[0]: model_name is missing",
            ],
        ),
        (
            ONE.replace("model: triton/m", "model: m"),
            ["config.yaml:4: model_list[0].litellm_params.model: write model: triton/m"],
        ),
        (
            ONE.replace("model: triton/m", "model: openai/gpt-4o"),
            [
                (
                    "config.yaml:4: model_list[0].litellm_params.model: only Triton models are served here,"
                    " not those of 'openai': write model: triton/NAME"
                ),
            ],
        ),
        (
            ONE.replace("model: triton/m", "model: triton/*"),
            [
                (
                    "config.yaml:4: model_list[0].litellm_params.model:"
                    " a model with * needs a model_name with *, such as triton/*"
                ),
            ],
        ),
        (
            ONE.replace("http://triton:8000", "ftp://triton"),
            ["config.yaml:5: model_list[0].litellm_params.api_base: api_base is not an http or https URL"],
        ),
        (
            ONE.replace("http://triton:8000", "http//triton:8000"),
            [
                (
                    "config.yaml:5: model_list[0].litellm_params.api_base: api_base is not an http or https URL:"
                    " it begins with http//, write http://"
                ),
            ],
        ),
        (
            ONE.replace("http://triton:8000", "os.environ/TRITON_URL"),
            [
                (
                    "config.yaml:5: model_list[0].litellm_params.api_base: the environment variable TRITON_URL"
                    " is not set: export TRITON_URL=... before starting"
                ),
            ],
        ),
        (
            ONE + "      rpm: many\n",
            ["config.yaml:6: model_list[0].litellm_params.rpm: must be an integer of 1 or more"],
        ),
        (
            ONE + "      temprature: 0.5\n",
            [
                "config.yaml:6: model_list[0].litellm_params.temprature: unknown key; did you mean temperature?"
            ],
        ),
        (
            ONE + "      temperature: hot\n",
            [
                (
                    "config.yaml:6: model_list[0].litellm_params.temperature:"
                    " 'temperature' must be a number from 0 to 2"
                ),
            ],
        ),
        (
            ONE + "      max_batch_size: big\n",
            [
                (
                    "config.yaml:6: model_list[0].litellm_params.max_batch_size:"
                    " setting 'max_batch_size' must be of type int"
                ),
            ],
        ),
        (
            ONE + "      initial_prompt_value: hi\n",
            [
                (
                    "config.yaml:6: model_list[0].litellm_params.initial_prompt_value: not supported; give the whole"
                    " template: chat_template: chatml (a built-in's name, a file or Jinja text)"
                ),
            ],
        ),
        (
            ONE + "      fallbacks: [a]\n      mock_response: hi\n",
            [
                (
                    "config.yaml:6: model_list[0].litellm_params.fallbacks:"
                    " not supported; write router_settings.fallbacks"
                ),
                (
                    "config.yaml:7: model_list[0].litellm_params.mock_response:"
                    " not supported; answers are Triton's, or the emulator's"
                ),
            ],
        ),
        (
            ONE + "router_setting: {}\n",
            ["config.yaml:6: router_setting: not supported; write router_settings"],
        ),
        (
            ONE + "router_settings:\n  routing_strategy: fastest\n",
            [
                (
                    "config.yaml:7: router_settings.routing_strategy: must be one of simple-shuffle, least-busy,"
                    " latency-based-routing, usage-based-routing, usage-based-routing-v2"
                ),
            ],
        ),
        (
            ONE + "router_settings:\n  num_retry: 3\n",
            ["config.yaml:7: router_settings.num_retry: unknown key; did you mean num_retries?"],
        ),
        (
            ONE + "router_settings:\n  fallbacks: [{m: [mm]}]\n",
            ["config.yaml:7: router_settings.fallbacks: no model_name is 'mm'; did you mean m?"],
        ),
        (
            ONE + "router_settings:\n  model_group_alias: {gpt-4: other}\n",
            ["config.yaml:7: router_settings.model_group_alias: no model_name is 'other'"],
        ),
        (
            ONE + "general_settings:\n  completion_model: mm\n",
            ["config.yaml:7: general_settings.completion_model: no model_name is 'mm'; did you mean m?"],
        ),
        (
            ONE + "router_settings:\n  retry_policy: {TimeoutRetries: 3}\n",
            [
                (
                    "config.yaml:7: router_settings.retry_policy.TimeoutRetries: unknown key;"
                    " did you mean TimeoutErrorRetries?"
                ),
            ],
        ),
        (
            ONE + "general_settings:\n  database_url: postgresql://db/litellm\n",
            [
                (
                    "config.yaml:7: general_settings.database_url: keys are kept in a SQLite file:"
                    " write database_url: sqlite:///keys.db"
                ),
            ],
        ),
        (
            ONE + "general_settings:\n  database_url: sqlite:////no/such/folder/keys.db\n",
            [
                "config.yaml:7: general_settings.database_url: there is no folder /no/such/folder: make it first"
            ],
        ),
        (
            ONE + "general_settings:\n  master_key: os.environ/MK\n",
            [
                (
                    "config.yaml:7: general_settings.master_key: the environment variable MK is not set:"
                    " export MK=... before starting"
                ),
            ],
        ),
        (
            ONE + '      api_key: "sk-1\\n"\n',
            [
                (
                    "config.yaml:6: model_list[0].litellm_params.api_key:"
                    " must be a string of printable ASCII (a line break at its end?)"
                ),
            ],
        ),
        (
            ONE + "      extra_headers: {x-team: caf\u00e9}\n",
            [
                (
                    "config.yaml:6: model_list[0].litellm_params.extra_headers:"
                    " must be a mapping of header names to strings of printable ASCII"
                ),
            ],
        ),
        (
            ONE + '    model_info:\n      id: "a\\nb"\n',
            ["config.yaml:7: model_list[0].model_info.id: must be printable ASCII: it is shown in a header"],
        ),
        (
            ONE + "general_settings:\n  master_key: \u043a\u043b\u044e\u0447\n",
            [
                (
                    "config.yaml:7: general_settings.master_key:"
                    " must be a string of printable ASCII (a line break at its end?)"
                ),
            ],
        ),
        (
            ONE + "litellm_settings: true\n",
            ["config.yaml:6: litellm_settings: must be a mapping"],
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_its_fix(text: str, told: list[str]) -> None:
    assert mistakes(text) == told


def test_all_mistakes_are_reported_at_once() -> None:
    text = ONE.replace("triton/m", "m").replace("http:", "ftp:") + "general_settings: {master_kye: x}\n"
    assert [line.split(":")[1] for line in mistakes(text)] == ["4", "6"]


def test_a_variable_that_is_empty_is_reported_as_empty() -> None:
    told = mistakes(ONE.replace("http://triton:8000", "os.environ/URL"), URL="")
    assert "URL is empty" in told[0]


def test_a_setting_without_effect_is_only_warned_of() -> None:
    config = read(
        ONE
        + "      input_cost_per_token: 0.1\n"
        + "litellm_settings: {cache: true, success_callback: [langfuse]}\n"
        + "router_settings: {redis_host: r}\n"
    )
    assert config.warnings == (
        "config.yaml:7: cache has no effect: replies are not cached",
        "config.yaml:8: redis_host has no effect: limits and cool-downs are kept in each process",
        (
            "config.yaml:6: input_cost_per_token has no effect: costs are not counted;"
            " budgets are in requests and tokens"
        ),
        "config.yaml:7: success_callback: 'langfuse' has no effect: use /metrics",
    )


def test_a_key_is_in_no_representation_of_a_config() -> None:
    config = read(ONE + "      api_key: upstream-secret\ngeneral_settings: {master_key: sk-secret}\n")
    assert "secret" not in repr(config)


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file cannot be read: No such file or directory"):
        read_file(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"\xe9")
    with pytest.raises(ConfigError, match="the file cannot be read: is not UTF-8 text"):
        read_file(tmp_path / "latin.yaml")


@pytest.mark.parametrize("value", [None, 5, [], "x", {"a": [1]}], ids=repr)
@pytest.mark.parametrize(
    "section",
    ["model_list", "litellm_settings", "router_settings", "general_settings", "environment_variables"],
)
def test_no_value_of_a_section_is_more_than_a_mistake(section: str, value: Any) -> None:
    document = {**yaml.safe_load(ONE), section: value}
    try:
        found = len(read_config(yaml.safe_dump(document), {}).models)
    except ConfigError as error:
        found = len(error.mistakes)
    assert found > 0


VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        2.5,
        float("nan"),
        float("inf"),
        10**400,
        "",
        "x",
        "a\nb",
        "*",
        "os.environ/",
        "\u2028",
    ),
    *(
        [],
        [None],
        [[1]],
        ["m"],
        {},
        {"a": 1},
        {1: 2},
        {None: None},
        {"model": None},
        {"m": ["m"]},
        [{"m": ["x*"]}],
    ),
)
PLACES: list[tuple[str | int, ...]] = [
    *(
        (section, key)
        for section in ("general_settings", "litellm_settings", "router_settings")
        for key in RULES[section]
    ),
    *(
        ("model_list", 0, "litellm_params", key)
        for key in (*RULES["litellm_params"], *CHECKS, "tokenizer", "profile")
    ),
    *(("model_list", 0, key) for key in RULES["model"]),
    ("model_list", 0, "model_info", "id"),
    ("router_settings", "retry_policy", "TimeoutErrorRetries"),
    ("environment_variables", "A"),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_no_value_of_a_key_is_more_than_a_mistake(place: tuple[str | int, ...]) -> None:
    for value in VALUES:
        document = {
            "model_list": [
                {
                    "model_name": "m",
                    "litellm_params": {"model": "triton/m", "api_base": "http://t"},
                    "model_info": {},
                }
            ],
            "router_settings": {"retry_policy": {}},
            **{section: {} for section in ("general_settings", "litellm_settings", "environment_variables")},
        }
        holder: Any = document
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
        try:
            told: list[Any] = [entry.name for entry in read_config(yaml.safe_dump(document), {}).models]
        except ConfigError as error:
            told = [mistake.line for mistake in error.mistakes]
        assert told[0] in ("m", value) or isinstance(told[0], int)
