"""`make demo`: a Triton without a GPU, the calls of LiteLLM's Triton page, a token stream, and the real server."""

import contextlib
import json
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from triton_emulator import Emulator
from triton_emulator.builtin import REPOSITORY

SCRIPTS = Path(sysconfig.get_path("scripts"))
#: cases that a pair of servers answers in a few seconds
SHOWN = ("health*", "model_metadata/*", "model_ready*", "infer/datatype/*", "generate/key/*")

CONFIG = """\
model_list:
  - model_name: my-triton-model
    litellm_params:
      model: triton/custom_llm
      api_base: {triton}/generate
  - model_name: my-infer-model
    litellm_params:
      model: triton/custom_llm
      api_base: {triton}/infer
  - model_name: my-embedding-model
    litellm_params:
      model: triton/embedding
      api_base: {triton}/embeddings
general_settings:
  master_key: sk-1234
"""
_SIDES = ("inputs", "outputs")

console = Console(highlight=False)


def main() -> int:
    """Run the demonstration. Returns 0 only if every answer was right and the two servers agreed."""
    console.rule("[bold]1. a Triton, on this machine")
    with Emulator(REPOSITORY) as triton, httpx.Client(base_url=triton.http_url, timeout=30) as http:
        _show_server(triton, http)
        console.rule("[bold]2. the three calls of LiteLLM's Triton page, as LiteLLM sends them")
        _show_calls(http)
        console.rule("[bold]3. a token stream")
        _show_stream(http)
        console.rule("[bold]4. OpenAI in front of it: triton-proxy with LiteLLM's config.yaml")
        _show_proxy(triton)
    console.rule("[bold]5. the emulator and the real tritonserver 2.51.0, asked the same things")
    code = _compare()
    console.rule("[bold]where to go on")
    console.print("README.md: a Triton in your tests.  docs/proxy.md: OpenAI in front of yours.")
    return code


def _show_server(triton: Emulator, http: httpx.Client) -> None:
    console.print(
        f"serving {REPOSITORY.name}/ at [cyan]{triton.http_url}[/] (metrics at {triton.metrics_url})"
    )
    table = Table("model", "version", "state", "inputs", "outputs")
    for row in http.post("/v2/repository/index").raise_for_status().json():
        metadata = http.get(f"/v2/models/{row['name']}").raise_for_status().json()
        table.add_row(
            row["name"], row["version"], row["state"], *(_tensors(metadata[side]) for side in _SIDES)
        )
    console.print(table)


def _tensors(tensors: list[dict[str, object]], most: int = 2) -> str:
    lines = [f"{tensor['name']} {tensor['datatype']}{tensor['shape']}" for tensor in tensors[:most]]
    more = len(tensors) - most
    return "\n".join(lines + ([f"and {more} more"] if more > 0 else []))


def _show_calls(http: httpx.Client) -> None:
    question = {"text_input": "who are u?", "parameters": {"max_tokens": 10}, "stream": False}
    tensors = [
        {"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["who are u?"]},
        {"name": "max_tokens", "shape": [1], "datatype": "INT32", "data": [10]},
    ]
    words = [{"name": "input_text", "shape": [1], "datatype": "BYTES", "data": ["good morning from litellm"]}]
    for path, body in (
        ("/generate", question),
        ("/infer", {"inputs": tensors}),
        ("/embeddings", {"inputs": words}),
        ("/v2/models/custom_llm/generate", question),
    ):
        answer = http.post(path, json=body).raise_for_status()
        console.print(f"[bold]POST {path}[/]", escape(json.dumps(body)), soft_wrap=True)
        console.print(f"  [green]{answer.status_code}[/]", escape(_shortened(answer.text)), soft_wrap=True)


def _shortened(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[:limit] + " ..."


def _show_stream(http: httpx.Client) -> None:
    body = {"text_input": "tell me about Triton", "max_tokens": 24, "stream": True}
    console.print("[bold]POST /v2/models/trtllm/generate_stream[/]")
    with http.stream("POST", "/v2/models/trtllm/generate_stream", json=body) as answer:
        events = 0
        for line in answer.raise_for_status().iter_lines():
            if line.startswith("data: "):
                events += 1
                console.print(json.loads(line[6:])["text_output"], end="", style="green", soft_wrap=True)
    console.print(f"\n({events} events)")


def _show_proxy(triton: Emulator) -> None:
    config = CONFIG.format(triton=triton.http_url)
    console.print(escape(config.rstrip()), style="dim")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(config)
        port = _free_port()
        # The key is published in LiteLLM's documentation: use it on this machine only.
        flags = ["--host=127.0.0.1", f"--port={port}", "--allow-weak-master-key"]
        console.print(f"[dim]$ triton-proxy --config config.yaml {' '.join(flags)}[/]", soft_wrap=True)
        command = [str(SCRIPTS / "triton-proxy"), "--config", str(path), *flags]
        log = Path(folder) / "proxy.log"
        with log.open("wb") as output:
            proxy = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            base = f"http://127.0.0.1:{port}"
            _wait_until_it_answers(base, proxy, log)
            with OpenAI(api_key="sk-1234", base_url=base) as client:
                console.print(
                    f'[dim]client = OpenAI(api_key="sk-1234", base_url="{base}")[/]', soft_wrap=True
                )
                _ask(client)
        finally:
            proxy.terminate()
            proxy.wait()


def _ask(client: OpenAI) -> None:
    question: list[ChatCompletionMessageParam] = [{"role": "user", "content": "who are u?"}]
    for model in ("my-triton-model", "my-infer-model"):
        _show_call(f'client.chat.completions.create(model="{model}", messages={question}, max_tokens=10)')
        answer = client.chat.completions.create(model=model, messages=question, max_tokens=10)
        console.print(" ", f"[green]{escape(answer.choices[0].message.content or '')}[/]")
    _show_call(f'client.chat.completions.create(model="my-triton-model", messages={question}, stream=True)')
    console.print("  ", end="")
    for chunk in client.chat.completions.create(model="my-triton-model", messages=question, stream=True):
        console.print(chunk.choices[0].delta.content or "", end="", style="green", soft_wrap=True)
    console.print()
    _show_call('client.embeddings.create(input=["hello from litellm"], model="my-embedding-model")')
    vector = client.embeddings.create(input=["hello from litellm"], model="my-embedding-model").data[0]
    shown = ", ".join(f"{number:.4f}" for number in vector.embedding[:4])
    console.print(f"  [green]{escape(f'[{shown}, ...]')}[/] ({len(vector.embedding)} numbers)")


def _show_call(call: str) -> None:
    console.print(f"[bold]{escape(call)}[/]", soft_wrap=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(base: str, proxy: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        if proxy.poll() is not None:
            raise SystemExit(f"triton-proxy ended with {proxy.returncode}:\n{log.read_text()}")
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{base}/health/liveliness")
            return
        time.sleep(0.1)
    raise SystemExit(f"triton-proxy did not answer within 30 s:\n{log.read_text()}")


def _compare() -> int:
    command = [str(SCRIPTS / "triton-contract"), "diff", "--target", "emulator", "--target", "triton"]
    for pattern in SHOWN:
        command += ["--only", pattern]
    console.print(f"[dim]$ triton-contract {' '.join(command[1:])}[/]", soft_wrap=True)
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
