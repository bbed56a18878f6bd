"""The console in Chromium: what the page shows, and what it does when a person uses it."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc

from emulator.tests.control.browser import Browser, Page, opened
from triton_emulator import Emulator, fault

NAME = "<script>alert(1)<"  # a folder's name has no slash
CONFIG = """
backend: "onnxruntime"
input [
  { name: "<b>IN</b>" data_type: TYPE_FP32 dims: [ 2 ] },
  { name: "MORE" data_type: TYPE_INT64 dims: [ 1 ] optional: true }
]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 3 ] } ]
"""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    models = ("simple", "custom_llm")
    with Emulator(model_control_mode="explicit", load_models=models, control=True) as emulator:
        yield emulator


@pytest.fixture
def page(browser: Browser, emulator: Emulator) -> Iterator[Page]:
    with opened(browser, emulator.control_url) as page:
        page.until("document.querySelector('#connection').textContent === 'Connected'")
        yield page


def generate(emulator: Emulator, text: str = "hi") -> int:
    body = {"text_input": text}
    return httpx.post(f"{emulator.http_url}/v2/models/custom_llm/generate", json=body).status_code


def test_a_plan_that_is_armed_on_the_page_fires_and_its_count_changes(page: Page, emulator: Emulator) -> None:
    page.fill("#arm [name=fault]", 'error(503, "overloaded")')
    page.fill("#arm [name=operation]", "generate")
    page.fill("#arm [name=times]", "2")
    page.click("#arm button")
    page.until("document.querySelector('#plan-rows .fired')?.textContent === '0 of 2'")
    assert generate(emulator) == 503
    page.until("document.querySelector('#plan-rows .fired').textContent === '1 of 2'")
    page.until("document.querySelector('#said').textContent === 'Plan 1: 1 of 2'")
    page.click("#plan-rows button")
    page.until("document.querySelectorAll('#plan-rows tr').length === 0")
    assert generate(emulator) == 200


def test_a_plan_is_armed_and_disarmed_by_keyboard_alone(page: Page, emulator: Emulator) -> None:
    page.tab_to("it.matches('#arm [name=fault]')")
    page.type('error(503, "overloaded")')
    page.tab_to("it.matches('#arm [name=times]')")
    page.tab_to("it.matches('#arm button')")
    page.press("Enter")
    page.until("document.querySelector('#said').textContent === 'Plan 1 is set'")
    page.until("document.querySelector('#plan-rows button')")
    page.tab_to("it.matches('#plan-rows button')")
    assert page.value("document.activeElement.getAttribute('aria-label')") == "Disarm plan 1"
    page.press("Space")
    page.until("document.querySelectorAll('#plan-rows tr').length === 0")
    page.until("document.activeElement.id === 'plans'")
    assert generate(emulator) == 200


def test_a_fault_that_means_nothing_is_refused_beside_its_field(page: Page) -> None:
    page.fill("#arm [name=fault]", "explode()")
    page.click("#arm button")
    assert "explode" in page.text("#plans .trouble:not([hidden])")
    assert page.value("document.activeElement.matches('#arm [name=fault][aria-invalid=true]')")


def test_a_request_appears_while_one_looks_and_its_tensors_are_shown(page: Page, emulator: Emulator) -> None:
    page.until("document.querySelector('#journal-count').textContent.startsWith('No request')")
    assert generate(emulator, "who are u?") == 200
    page.click("#entries [data-number='1'] button")
    assert 'text_input\tBYTES [1]\t"who are u?"' in page.text("#entries [data-detail-of='1'] .tensors")
    outputs = page.until("document.querySelectorAll('#entries .tensors')[1]?.innerText")
    assert "text_output\tBYTES [1]\t" in outputs


def test_a_request_that_runs_is_shown_as_running_until_it_ends(page: Page, emulator: Emulator) -> None:
    emulator.inject(fault.delay(3600), operation="generate")
    url = httpx.URL(emulator.http_url)
    with socket.create_connection((url.host, url.port)) as connection:
        body = b'{"text_input": "hi"}'
        head = b"POST /v2/models/custom_llm/generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)
        page.until("document.querySelector('#entries .number').textContent === 'running'")
    page.until("/ (ms|s)$/.test(document.querySelector('#entries .number').textContent)")
    assert page.text("#entries .status") == "no answer"
    assert page.text("#entries .fault") == "plan 1"


def test_the_answers_of_a_stream_are_shown_in_their_order(page: Page, emulator: Emulator) -> None:
    emulator.when("generate_stream", model="custom_llm").respond(tokens=["Hello", " there"])
    httpx.post(f"{emulator.http_url}/v2/models/custom_llm/generate_stream", json={"text_input": "hi"})
    page.click("#entries button")
    shown = page.until("document.querySelectorAll('#entries .tensors')[1]?.innerText")
    assert '1: text_output\tBYTES [1]\t"Hello"' in shown
    assert '2: text_output\tBYTES [1]\t" there"' in shown
    assert page.text("#entries .fault") == "stub 1"


def test_a_call_over_grpc_is_shown_without_its_secrets(page: Page, emulator: Emulator) -> None:
    with tritonclient.grpc.InferenceServerClient(emulator.grpc_url) as client:
        client.get_model_metadata("simple", headers={"authorization": "Bearer s3cret", "x-test": "7"})
    page.click("#entries button")
    page.click("#entries .detail summary")
    headers = page.text("#entries .detail details")
    assert "authorization\n[redacted]" in headers
    assert "x-test\n7" in headers
    page.fill("#filters [name=protocol]", "http")
    page.until("document.querySelectorAll('#entries > tr').length === 0")


def test_an_emulator_that_has_ended_is_told(browser: Browser) -> None:
    with Emulator(model_control_mode="explicit", control=True) as emulator:
        page = Page(browser, emulator.control_url)
        page.until("document.querySelector('#connection').textContent === 'Connected'")
    page.until("document.querySelector('#connection').textContent === 'The emulator does not answer'")
    page.close()


def test_the_journal_shows_what_its_filters_let_through(page: Page, emulator: Emulator) -> None:
    generate(emulator)
    httpx.get(f"{emulator.http_url}/v2/models/simple")
    page.until("document.querySelectorAll('#entries > tr').length === 2")
    page.fill("#filters [name=model]", "simple")
    page.until("document.querySelectorAll('#entries > tr').length === 1")
    assert page.text("#entries .operation") == "model_metadata"
    generate(emulator)
    httpx.get(f"{emulator.http_url}/v2/models/simple/config")
    page.until("document.querySelectorAll('#entries > tr').length === 2")
    assert page.text("#entries .operation") == "model_config"
    page.click("#filters [type=reset]")
    page.until("document.querySelectorAll('#entries > tr').length === 4")


def test_a_request_is_sent_from_a_form_made_of_metadata_and_its_answer_shown(
    page: Page, emulator: Emulator
) -> None:
    page.until("document.querySelector('#compose [name=model]').value")
    page.fill("#compose [name=model]", "simple\n1")
    page.fill("[data-name=INPUT0] [data-elements]", "5")
    page.fill("[data-name=INPUT1] [data-elements]", " ".join(map(str, range(16))))
    page.click("#compose > button")
    assert page.text("#answer p").startswith("Status 200, ")
    shown = page.text("#answer .tensors")
    assert "OUTPUT0\tINT32 [1, 16]\t5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20" in shown
    assert "OUTPUT1\tINT32 [1, 16]\t5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8, -9, -10" in shown
    sent = emulator.requests.last
    assert sent.operation == "infer"
    np.testing.assert_array_equal(sent.inputs["INPUT0"], np.full((1, 16), 5, np.int32))


def test_elements_that_do_not_fit_are_not_sent(page: Page, emulator: Emulator) -> None:
    page.until("document.querySelector('#compose [name=model]').value")
    page.fill("#compose [name=model]", "simple\n1")
    page.fill("[data-name=INPUT1] [data-elements]", "1 2 3")
    page.click("#compose > button")
    assert page.text("#composer .trouble:not([hidden])") == (
        "INPUT1: the shape [1, 16] has 16 elements, and 3 are given"
    )
    assert emulator.requests.count == 0


def test_an_answer_that_a_fault_breaks_is_shown_as_broken(page: Page, emulator: Emulator) -> None:
    emulator.inject(fault.reset(), operation="generate")
    page.until("document.querySelector('#compose [name=model]').value")
    page.fill("#compose [name=model]", "custom_llm\n1")
    page.fill("#compose [name=operation]", "generate")
    page.click("#compose > button")
    assert page.text("#answer p").startswith("No answer, ")


def test_a_stub_that_is_set_on_the_page_answers(page: Page, emulator: Emulator) -> None:
    page.fill("#stub [name=model]", "custom_llm")
    page.fill("#stub [name=inputs]", '{"text_input": "ping"}')
    page.fill("#stub [name=answer]", "pong")
    page.click("#stub button")
    page.until("document.querySelector('#stub-rows .fired')?.textContent === '0'")
    answer = httpx.post(
        f"{emulator.http_url}/v2/models/custom_llm/generate", json={"text_input": "ping"}
    ).json()
    assert answer["text_output"] == "pong"
    page.until("document.querySelector('#stub-rows .fired').textContent === '1'")


def test_the_verdict_names_what_was_found_and_what_a_test_would_fail_for(
    page: Page, emulator: Emulator
) -> None:
    emulator.inject(fault.error(503), operation="infer")
    for _ in range(4):
        generate(emulator)
    page.click("#judge")
    found = page.text("#findings ul")
    assert "connections_not_reused" in found
    assert "fired 0 of 1 times" in page.text("#findings")


def test_a_session_is_opened_chosen_and_closed_and_its_virtual_clock_advanced(
    page: Page, emulator: Emulator
) -> None:
    generate(emulator)
    page.until("document.querySelectorAll('#entries > tr').length === 1")
    page.fill("#open-session [name=model_control_mode]", "explicit")
    page.fill("#open-session [name=load_models]", "simple")
    page.fill("#open-session [name=clock]", "virtual")
    page.click("#open-session button")
    page.until("document.querySelector('#session').value !== 'root'")
    page.until("document.querySelectorAll('#entries > tr').length === 0")
    page.until("!document.querySelector('#advance').hidden")
    page.fill("#advance [name=seconds]", "30")
    page.click("#advance button")
    page.until("parseFloat(document.querySelector('#clock-setting').textContent) >= 30")
    page.click("#session-rows tr:nth-child(2) td button")
    page.until("document.querySelector('#session').value === 'root'")
    page.until("document.querySelectorAll('#entries > tr').length === 1")


def test_a_reset_by_another_client_is_seen(page: Page, emulator: Emulator) -> None:
    generate(emulator)
    generate(emulator)
    page.until("document.querySelectorAll('#entries > tr').length === 2")
    emulator.reset()
    page.until("document.querySelectorAll('#entries > tr').length === 0")
    generate(emulator, "again")
    page.until("document.querySelectorAll('#entries > tr').length === 1")


def test_names_that_look_like_html_are_texts(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / NAME / "1").mkdir(parents=True)
    (tmp_path / NAME / "config.pbtxt").write_text(CONFIG)
    with Emulator(tmp_path, control=True) as emulator, opened(browser, emulator.control_url) as page:
        assert NAME in page.text("#model-rows th")
        page.click("#model-rows button")
        assert "<b>IN</b>" in page.text("#inputs legend")
        page.click("#compose > button")
        assert page.text("#answer p").startswith("Status 200, ")
        assert page.text("#entries .model") == f"{NAME} / 1"
        page.click("#entries button")
        assert "<b>IN</b>\tFP32 [2]\t1, 2" in page.text("#entries .tensors")
        assert page.value("document.querySelectorAll('main script, main b').length") == 0
        # the optional input is left out unless it is wanted; its 64 bits are exact
        assert list(emulator.requests.last.inputs) == ["<b>IN</b>"]
        page.click("[data-name=MORE] [data-sent]")
        page.fill("[data-name=MORE] [data-elements]", "9007199254740993")
        page.click("#compose > button")
        page.until("document.querySelectorAll('#entries > tr').length === 3")
        page.click("#entries [data-number='2'] button")
        assert "MORE\tINT64 [1]\t9007199254740993" in page.text("#entries [data-detail-of='2'] .tensors")
        assert emulator.requests.last.inputs["MORE"].tolist() == [9007199254740993]


def test_half_floats_are_sent_in_binary_as_json_has_none(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "half" / "1").mkdir(parents=True)
    (tmp_path / "half" / "config.pbtxt").write_text(
        """
        backend: "identity"
        input [ { name: "A" data_type: TYPE_FP16 dims: [ -1 ] }, { name: "B" data_type: TYPE_BF16 dims: [ 2 ] } ]
        output [ { name: "OUTPUT" data_type: TYPE_FP16 dims: [ -1 ] } ]
        """
    )
    with Emulator(tmp_path, control=True) as emulator, opened(browser, emulator.control_url) as page:
        page.click("#model-rows button")
        page.fill("[data-name=A] [data-shape]", "3")
        page.fill("[data-name=A] [data-elements]", "1.5 -65504 1e-7")
        page.fill("[data-name=B] [data-elements]", "1.00390625 3.140625")  # the first is between two BF16
        page.click("#compose > button")
        assert page.text("#answer p").startswith("Status 200, ")
        sent = emulator.requests.last
        assert sent.inputs["A"].tobytes() == np.array([1.5, -65504, 1e-7], "<f2").tobytes()
        assert sent.tensors["B"].data == bytes.fromhex("803f 4940")
        page.click("#entries button")
        assert "A\tFP16 [3]\t1.5, -65504, " in page.text("#entries .tensors")


def test_a_model_that_the_page_does_not_know_is_sent_a_body(browser: Browser, emulator: Emulator) -> None:
    with (
        Emulator(upstream=emulator.http_url, control=True) as front,
        opened(browser, front.control_url) as page,
    ):
        assert "the models are those of the upstream" in page.text("#models .trouble:not([hidden])")
        page.fill("#compose [name=other]", "custom_llm")
        page.fill("#compose [name=operation]", "generate")
        page.fill("#compose [name=body]", '{"text_input": "hi"}')
        page.click("#compose > button")
        assert page.text("#answer p").startswith("Status 200, ")
        assert front.requests.last.model == "custom_llm"


def test_the_page_asks_for_the_token_until_it_is_the_right_one(browser: Browser) -> None:
    with Emulator(model_control_mode="explicit", control=True, control_token="s3cret") as emulator:
        page = Page(browser, emulator.control_url)
        page.until("document.querySelector('#ask-token').open")
        page.type("wrong")
        page.press("Enter")
        assert page.text("#ask-token .trouble:not([hidden])") == "That is not the token."
        page.type("s3cret")
        page.press("Enter")
        page.until("document.querySelector('#connection').textContent === 'Connected'")
        assert page.value("Object.keys(localStorage).length") == 0
        assert page.value("document.cookie") == ""
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1400])
def test_the_page_fits_its_window_and_its_texts_can_be_read(page: Page, scheme: str, width: int) -> None:
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    page.until("document.querySelectorAll('#model-rows tr').length > 0")
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    contrasts = page.value(CONTRASTS)
    assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}


#: the contrast of texts with what they are on, as WCAG 2.2 computes it
CONTRASTS = """(() => {
  const channels = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map((each) => each / 255);
  const linear = (each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
  const light = (colour) => {
    const [red, green, blue] = channels(colour).map(linear);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour.endsWith(", 0)") ? behind(element.parentElement) : colour;
  };
  const found = {};
  const looked = ['h2', '.quiet', 'label', '#model-rows .good', 'nav a', '#arm > button', 'td button', 'input'];
  for (const selector of looked) {
    const element = document.querySelector(selector);
    const [one, other] = [light(getComputedStyle(element).color), light(behind(element))];
    found[selector] = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  }
  return found;
})()"""


def test_everything_that_is_used_has_a_name(page: Page) -> None:
    page.until("document.querySelectorAll('#model-rows tr').length > 0")
    nodes = page.ask("Accessibility.getFullAXTree")["nodes"]
    used = {"button", "checkbox", "combobox", "link", "region", "spinbutton", "table", "textbox"}
    unnamed = [
        json.dumps(node["role"])
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in used - {"table"}
        and not node.get("name", {}).get("value")
    ]
    assert unnamed == []
    roles = {node["role"]["value"] for node in nodes}
    assert {"banner", "navigation", "main", "status"} <= roles
