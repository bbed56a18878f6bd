"""emulator.yaml: its settings have their effect, and a mistake in it is refused with its line."""

import re
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.backends.standins.settings import (
    BEHAVIOURS,
    FILE_NAME,
    KEYS,
    GivenTensor,
    ModelSettings,
)
from triton_emulator.yaml_nodes import SettingsError


def test_without_a_file_there_are_no_settings(tmp_path: Path) -> None:
    assert ModelSettings.read(tmp_path / FILE_NAME).for_model("any") == {}


def test_an_empty_file_gives_no_settings(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("# nothing yet\n")
    assert ModelSettings.read(tmp_path / FILE_NAME) == ModelSettings()


def test_a_models_own_entry_overrides_the_defaults() -> None:
    settings = ModelSettings.parse("default: {seed: 1, delay_ms: 5}\nmodels: {a: {seed: 2}}")
    assert settings.for_model("a") == {"seed": 2, "delay_ms": 5.0}
    assert settings.for_model("b") == {"seed": 1, "delay_ms": 5.0}


def test_an_exact_name_goes_before_patterns_and_the_first_pattern_before_the_others() -> None:
    settings = ModelSettings.parse(
        """
        models:
          llama-*: {seed: 1}
          "*": {seed: 2}
          llama-8b: {seed: 3}
        """
    )
    assert [settings.for_model(name)["seed"] for name in ("llama-8b", "llama-70b", "bge")] == [3, 1, 2]


def test_an_entry_may_be_empty() -> None:
    assert ModelSettings.parse("models:\n  a:\n").for_model("a") == {}


@pytest.mark.parametrize(
    "text, message",
    [
        ("modles: {}", "emulator.yaml:1: unknown section 'modles'; did you mean 'models'?"),
        (
            "models:\n  a:\n    behavior: text",
            "emulator.yaml:3: unknown key 'behavior' in model 'a'; did you mean 'behaviour'?",
        ),
        ("default:\n  zzz: 1", "emulator.yaml:2: unknown key 'zzz' in 'default'"),
        (
            "models: {a: {behaviour: txt}}",
            (
                "emulator.yaml:1: 'behaviour' in model 'a' must be one of "
                "text, embedding, synthetic, identity, python; did you mean 'text'?"
            ),
        ),
        (
            "models:\n  a:\n    behaviour: embedding\n    reply: Hello.",
            "emulator.yaml:4: 'reply' in model 'a' has no meaning for behaviour 'embedding'",
        ),
        ("models:\n  a: {seed: 1}\n  a: {seed: 2}", "emulator.yaml:3: 'a' is twice in 'models'"),
        ("models: {a: {seed: 1, seed: 2}}", "emulator.yaml:1: 'seed' is twice in model 'a'"),
        ("- a\n- b", "emulator.yaml:1: the file must be a mapping"),
        ("models: [a]", "emulator.yaml:1: 'models' must be a mapping"),
        ("models: {a: text}", "emulator.yaml:1: model 'a' must be a mapping"),
        ("models: {[a]: {}}", "emulator.yaml:1: a key in 'models' must be a name"),
        ("models:\n  a: {seed: 1", "emulator.yaml:2: not YAML: expected ',' or '}', but got '<stream end>'"),
        (
            "models: {a: {reply: !!python/name:os.system }}",
            "emulator.yaml:1: 'reply' in model 'a' is not plain YAML: ",
        ),
        (
            "models: {a: {replies: {'(': x}}}",
            "emulator.yaml:1: 'replies' in model 'a' holds a broken regular expression '('",
        ),
        (
            "models: {a: {reply: " + "[" * 5000 + "]" * 5000 + "}}",
            "emulator.yaml:1: it is nested too deeply",
        ),
        (
            "models: {a: {reply: !!bool perhaps}}",
            "emulator.yaml:1: 'reply' in model 'a' is not plain YAML: ",
        ),
        (
            "models: {a: {reply: !!timestamp today}}",
            "emulator.yaml:1: 'reply' in model 'a' is not plain YAML: ",
        ),
        (
            "models: {a: {seed: 2024-13-45}}",
            "emulator.yaml:1: 'seed' in model 'a' is not plain YAML: ",
        ),
    ],
    ids=[
        "a misspelt section",
        "a misspelt key",
        "a key like no other",
        "a misspelt behaviour",
        "a key of another behaviour",
        "a model twice",
        "a key twice",
        "a list",
        "a list of models",
        "a model that is a word",
        "a key that is a list",
        "broken YAML",
        "a YAML tag",
        "a broken pattern",
        "a thousand lists in lists",
        "a truth value that is none",
        "a time that is none",
        "a day that is none",
    ],
)
def test_a_mistake_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ModelSettings.parse(text)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "key, value",
    [
        ("seed", "1.5"),
        ("seed", "true"),
        ("seed", "null"),
        ("echo", "1"),
        ("reply", "3"),
        ("reply", "[]"),
        ("replies", "[a]"),
        ("replies", "{a: 1}"),
        ("length", "[5, 2]"),
        ("length", "-1"),
        ("length", "true"),
        ("max_tokens", "-1"),
        ("time_per_token_ms", "-1"),
        ("time_per_token_ms", ".inf"),
        ("time_per_token_ms", ".nan"),
        ("time_per_token_ms", "fast"),
        ("fail_after_tokens", "1.0"),
        ("fail_message", "5"),
        ("dim", "0"),
        ("delay_ms", "false"),
        ("range", "[2, 1]"),
        ("range", "5"),
        ("values", "[1, 2]"),
        ("values", "{Y: []}"),
        ("values", "{Y: [[1]]}"),
        ("dims", "{Y: 3}"),
        ("dims", "{Y: [-1]}"),
        ("input", "[a]"),
        ("stream", "yes please"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(key: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^emulator.yaml:2: '{key}' in model 'a' must "):
        ModelSettings.parse(f"models:\n  a: {{{key}: {value}}}")


@pytest.mark.parametrize(
    "number",
    [str(1 << 64), str(-(1 << 63) - 1), "1" + "0" * 400, "1" + "0" * 5000, "0x" + "f" * 5000],
    ids=["2 to the 64", "below 64 bits", "400 digits", "more digits than Python reads", "hexadecimal"],
)
@pytest.mark.parametrize(
    "key, value",
    [
        ("seed", "{}"),
        ("length", "{}"),
        ("max_batch_size", "{}"),
        ("time_to_first_token_ms", "{}"),
        ("delay_ms", "{}"),
        ("range", "[0, {}]"),
        ("values", "{{Y: [{}]}}"),
        ("dims", "{{Y: [{}]}}"),
        ("inputs", "{{X: {{data_type: FP32, dims: [{}]}}}}"),
    ],
)
def test_an_integer_beyond_64_bits_is_refused(key: str, value: str, number: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ModelSettings.parse(f"models:\n  a: {{{key}: {value.format(number)}}}")
    assert str(refused.value) == f"emulator.yaml:2: '{key}' in model 'a' holds an integer beyond 64 bits"


@pytest.mark.parametrize(
    "key, value, text",
    [
        ("max_batch_size", 1 << 31, "must be an integer from 0 to 2147483647, as in config.pbtxt"),
        (
            "inputs",
            f"{{X: {{data_type: FP32, dims: [{1 << 63}]}}}}",
            "must give 'X' dims as a list of numbers of 64 bits, each above 0, or -1 for a variable one",
        ),
        (
            "dims",
            f"{{Y: [{1 << 63}]}}",
            "must map outputs to lists of dimensions, each a number or INPUT[axis]",
        ),
    ],
)
def test_a_number_that_the_config_cannot_hold_is_refused(key: str, value: object, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ModelSettings.parse(f"models:\n  a: {{{key}: {value}}}")
    assert str(refused.value) == f"emulator.yaml:2: '{key}' in model 'a' {text}"


def test_the_largest_numbers_are_taken() -> None:
    text = (
        f"default: {{values: {{Y: [{(1 << 64) - 1}]}}, seed: {-(1 << 63)}, max_batch_size: {(1 << 31) - 1}}}"
    )
    settings = ModelSettings.parse(text).for_model("m")
    assert settings["values"] == {"Y": [(1 << 64) - 1]}


def test_a_message_names_the_file_it_is_about(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text("nonsense: 1\n")
    with pytest.raises(SettingsError) as refused:
        ModelSettings.read(path)
    assert str(refused.value) == f"{path}:1: unknown section 'nonsense'"


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        ModelSettings.read(tmp_path / FILE_NAME)


PAGE = Path(__file__).parents[4] / "docs" / "emulator_yaml.md"


def test_every_key_is_documented_with_the_behaviours_that_know_it() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Keys")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \|", table, re.MULTILINE)
    documented = {key: set(BEHAVIOURS if names == "all" else names.split(", ")) for key, names in rows}
    assert documented == {key: set(behaviours) for key, (behaviours, _) in KEYS.items()}


EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split()[-1])
def test_every_example_of_the_documentation_can_be_read(example: str) -> None:
    assert ModelSettings.parse(example).models


def test_a_repositorys_file_applies_to_a_model_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "1").mkdir(parents=True)
    (tmp_path / "elsewhere" / "config.pbtxt").write_text(
        """
        backend: "python"
        input { name: "X" data_type: TYPE_INT32 dims: 1 }
        output { name: "Y" data_type: TYPE_INT32 dims: 1 }
        """
    )
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "m").symlink_to(tmp_path / "elsewhere")
    (repository / FILE_NAME).write_text("models: {m: {behaviour: identity}}")
    tensor = {"name": "X", "datatype": "INT32", "shape": [1], "data": [7]}
    with Emulator(repository) as triton:
        answer = httpx.post(f"{triton.url}/v2/models/m/infer", json={"inputs": [tensor]})
    assert answer.json()["outputs"][0]["data"] == [7]


@pytest.mark.parametrize(
    "inputs, fault",
    [
        ("x", "must map names to {data_type: FP32, dims: [3, 640, 640]}"),
        ("{}", "must map names to {data_type: FP32, dims: [3, 640, 640]}"),
        ("{x: FP32}", "must give 'x' as {data_type: FP32, dims: [3, 640, 640]}"),
        ("{x: {data_type: FP32}}", "must give 'x' as {data_type: FP32, dims: [3, 640, 640]}"),
        (
            "{x: {data_type: FP32, dims: [1], name: y}}",
            "must give 'x' as {data_type: FP32, dims: [3, 640, 640]}",
        ),
        (
            "{x: {data_type: FP33, dims: [1]}}",
            "must give 'x' a data_type of Triton's, not 'FP33'; did you mean 'FP32'?",
        ),
        *(
            (
                f"{{x: {{data_type: FP32, dims: {dims}}}}}",
                "must give 'x' dims as a list of numbers of 64 bits, each above 0, or -1 for a variable one",
            )
            for dims in ("[]", "3", "[0]", "[-2]", "[1.5]", "[true]", "[x]")
        ),
    ],
)
def test_tensors_that_make_no_sense_are_refused_with_their_line(inputs: str, fault: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ModelSettings.parse(f"models:\n  m:\n    inputs: {inputs}\n")
    assert str(refused.value) == f"emulator.yaml:3: 'inputs' in model 'm' {fault}"


def test_tensors_are_given_as_in_a_config() -> None:
    text = (
        "models: {m: {inputs: {a: {data_type: TYPE_FP16, dims: [-1]}, b: {data_type: BYTES, dims: [1, 2]}}}}"
    )
    assert ModelSettings.parse(text).for_model("m")["inputs"] == (
        GivenTensor("a", "TYPE_FP16", (-1,)),
        GivenTensor("b", "TYPE_STRING", (1, 2)),
    )
