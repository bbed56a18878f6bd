"""Chat templates: built in, inline, in files, in a sandbox."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapter.tests.driving import Sdk, ask, failure
from triton_adapter import errors
from triton_adapter.generation.chat_template import builtin_templates, load_template, render_chat
from triton_adapter.openai.requests import read_chat
from triton_adapter.settings import Settings

CHAT = [
    {"role": "system", "content": "Be terse."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]

CHATML = (
    "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
)
PROMPTS = {
    "chatml": CHATML,
    "hermes": CHATML,
    "qwen": CHATML,
    "llama2": "[INST] <<SYS>>\nBe terse.\n<</SYS>>\n\nHi [/INST] Hello </s>[INST] Bye [/INST]",
    "llama3": (
        "<|start_header_id|>system<|end_header_id|>\n\nBe terse.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral": "[INST] Hi[/INST] Hello</s>[INST] Be terse.\n\nBye[/INST]",
    "gemma": (
        "<start_of_turn>user\nBe terse.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    ),
    "phi3": (
        "<|system|>\nBe terse.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"
        "<|user|>\nBye<|end|>\n<|assistant|>\n"
    ),
    "deepseek": "Be terse.<｜User｜>Hi<｜Assistant｜>Hello<｜end▁of▁sentence｜><｜User｜>Bye<｜Assistant｜>",
    "zephyr": (
        "<|system|>\nBe terse.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n"
        "<|user|>\nBye</s>\n<|assistant|>\n"
    ),
}
LAST_LINE = "{{ messages[-1].content }}"


def prompt(sdk: Sdk, triton: str, messages: Any = CHAT, **params: Any) -> str:
    """The prompt that the model receives for a chat."""
    reply = sdk.completion("flat", messages, api_base=triton, **params)
    return str(reply.choices[0].message.content).removeprefix("You said: ")


def test_every_built_in_template_is_specified_here() -> None:
    assert builtin_templates() == sorted(PROMPTS)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_built_in_template_writes_its_familys_prompt(sdk: Sdk, triton: str, name: str) -> None:
    assert prompt(sdk, triton, chat_template=name) == PROMPTS[name]


def test_the_first_token_is_written_if_it_is_given(sdk: Sdk, triton: str) -> None:
    found = prompt(sdk, triton, ask("Hi"), chat_template="llama3", bos_token="<|begin_of_text|>")
    assert found.startswith("<|begin_of_text|><|start_header_id|>user")


def test_without_a_template_one_user_message_goes_as_it_is(sdk: Sdk, triton: str) -> None:
    assert prompt(sdk, triton, ask("who are u?")) == "who are u?"


def test_without_a_template_several_messages_are_labelled(sdk: Sdk, triton: str) -> None:
    developer = [{"role": "developer", "content": "Be terse."}, *CHAT[1:]]
    assert (
        prompt(sdk, triton, developer)
        == "System: Be terse.\nUser: Hi\nAssistant: Hello\nUser: Bye\nAssistant:"
    )


def test_an_inline_template_is_used(sdk: Sdk, triton: str) -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    assert prompt(sdk, triton, chat_template=template) == "[system]Be terse.[user]Hi[assistant]Hello[user]Bye"


def test_a_template_file_is_used(sdk: Sdk, triton: str, tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{{ messages | length }} {{ add_generation_prompt }}")
    assert prompt(sdk, triton, chat_template=str(file)) == "4 True"


@pytest.mark.parametrize("given", ["tokenizer_config.json", ""], ids=["the file", "its folder"])
def test_a_tokenizer_config_is_used_with_its_special_tokens(
    sdk: Sdk, triton: str, tmp_path: Path, given: str
) -> None:
    config = {
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
        "chat_template": [
            {"name": "tool_use", "template": "no"},
            {"name": "default", "template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"},
        ],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert prompt(sdk, triton, chat_template=str(tmp_path / given)) == "<s>Be terse.</s>"


def test_a_template_next_to_its_tokenizer_config_is_used(sdk: Sdk, triton: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[-1].content }}")
    assert prompt(sdk, triton, chat_template=str(tmp_path)) == "<s>Bye"


@pytest.mark.parametrize("text", ["[]", "{}", "no json"])
def test_a_tokenizer_config_without_a_template_is_refused(
    sdk: Sdk, triton: str, tmp_path: Path, text: str
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(text)
    error = failure(lambda: prompt(sdk, triton, chat_template=str(tmp_path)))
    assert (error.status_code, error.param) == (400, "chat_template")


def test_template_arguments_reach_the_template(sdk: Sdk, triton: str) -> None:
    found = prompt(
        sdk, triton, ask("Hi"), chat_template="qwen", chat_template_kwargs={"enable_thinking": False}
    )
    assert found.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_template_arguments_without_a_template_are_refused_by_name(sdk: Sdk, triton: str) -> None:
    error = failure(lambda: prompt(sdk, triton, chat_template_kwargs={"enable_thinking": False}))
    assert (error.status_code, error.param) == (400, "chat_template_kwargs")


def test_a_refusal_by_a_template_is_reported_in_its_words(sdk: Sdk, triton: str) -> None:
    template = "{{ raise_exception('roles must alternate') }}"
    error = failure(lambda: prompt(sdk, triton, chat_template=template))
    assert (error.status_code, error.param) == (400, "messages")
    assert "roles must alternate" in error.message


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__ }}{{ messages.append(1) }}",
        "{% set _ = messages[0].update({'role': 'x'}) %}{{ messages }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
        "{{ '{0.__class__.__mro__}'.format(messages) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ dict.mro() }}",
        "{{ (lipsum | attr('__globals__')).os }}",
        "{{ (raise_exception | attr('__globals__')).sys }}",
        "{{ raise_exception.__globals__.sys }}",
        "{{ (messages | map(attribute='__class__') | first).mro() }}",
        "{{ messages.__iter__().x }}",
        "{{ range(1000000) | list }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ 1 / 0 }}",
    ],
    ids=[
        "classes",
        "a list's methods",
        "a change to a message",
        "a file",
        "a module",
        "a format string",
        "a global's class",
        "the template itself",
        "a type",
        "an attribute by filter",
        "a function's globals by filter",
        "a function's globals",
        "an attribute by another filter",
        "a method of an attribute",
        "a range without an end",
        "a recursion without an end",
        "a division by zero",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    with pytest.raises(errors.BadRequestError) as caught:
        rendered(template)
    assert caught.value.status_code == 400


def rendered(template: str) -> str:
    binding: Any = SimpleNamespace(settings=Settings(chat_template=template))
    return render_chat(binding, read_chat({"messages": [dict(message) for message in CHAT]}))


def test_a_template_may_mark_what_is_generated() -> None:
    template, _ = load_template(
        "{% for m in messages %}{% generation %}{{ m }}{% endgeneration %}{% break %}{% endfor %}"
    )
    assert template.render(messages=["a", "b"]) == "a"


def test_json_in_a_template_is_not_escaped_for_html() -> None:
    template, _ = load_template("{{ value | tojson }}")
    assert template.render(value={"a": "<b> & é"}) == '{"a": "<b> & é"}'


def test_images_keep_their_place_where_a_token_marks_them(sdk: Sdk, triton: str) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [image, {"type": "text", "text": "SAY hi"}]}]
    reply = sdk.completion(
        "vllm",
        messages,
        api_base=triton,
        chat_template="{{ messages[0].content[0].type }}\nSAY {{ messages[0].content[1].text }}",
    )
    assert reply.choices[0].message.content == "SAY hi"
