"""Draws the pictures of docs/architecture.md: `python -m docs.pictures` writes docs/images/*.svg.

They are drawn from the tables below. No page loads a drawing program, and GitHub shows the same files.
Colours are CSS variables. A picture alone follows the reader's system; inside a page of the site it follows the page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

IMAGES = Path(__file__).resolve().parent / "images"

STYLE = """
.picture { --ink: #24292f; --soft: #57606a; --line: #8c959f; --box: #f6f8fa; --accent: #3f51b5 }
@media (prefers-color-scheme: dark) {
  .picture { --ink: #e6edf3; --soft: #9aa4af; --line: #6e7681; --box: #21262d; --accent: #8f9bff }
}
.picture text { fill: var(--ink); font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; stroke: none }
.picture .name { font-weight: 600 }
.picture .soft { fill: var(--soft); font-size: 12px }
.picture .middle { text-anchor: middle }
.picture rect { fill: var(--box); stroke: var(--line) }
.picture path { fill: none; stroke: var(--line) }
.picture .arrow { stroke: var(--accent); stroke-width: 1.5; marker-end: url(#head) }
.picture .back { stroke-dasharray: 5 4 }
.picture marker path { fill: var(--accent); stroke: none }
"""
HEAD = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="6" markerHeight="6" '
    'orient="auto-start-reverse"><path d="M0 0 10 5 0 10z"/></marker></defs>'
)


@dataclass(frozen=True, slots=True)
class Box:
    """A named part, at a place in pixels; `text` is its second line."""

    name: str
    text: str
    x: int
    y: int
    width: int = 190
    height: int = 54


@dataclass(frozen=True, slots=True)
class Arrow:
    """A line with a head from point to point, and its text in the middle."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """A participant of a walk: a column."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A row of a walk: what one lane passes to another, or a step within one lane. Lanes are counted from 0."""

    source: int
    target: int
    text: str
    back: bool = False


def picture(width: int, height: int, parts: Iterator[str]) -> str:
    """Put the parts of a drawing into an SVG."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {width} {height}" width="{width}">',
        f"<style>{STYLE}</style>",
        HEAD,
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def boxes(parts: list[Box], arrows: list[Arrow]) -> str:
    """Draw parts and the arrows between them."""
    width = max(box.x + box.width for box in parts) + 10
    height = max(box.y + box.height for box in parts) + 10

    def drawn() -> Iterator[str]:
        for box in parts:
            yield f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6"/>'
            middle = box.x + box.width / 2
            yield _text(middle, box.y + 23, box.name, "name middle")
            yield _text(middle, box.y + 41, box.text, "soft middle")
        for arrow in arrows:
            (x1, y1), (x2, y2) = arrow.start, arrow.end
            yield f'<path class="arrow" d="M{x1} {y1} {x2} {y2}"/>'
            sideways = y1 == y2
            x, y = (x1 + x2) / 2 + (0 if sideways else 8), (y1 + y2) / 2 + (-6 if sideways else 4)
            yield _text(x, y, arrow.text, "soft" + " middle" * sideways)

    return picture(width, height, drawn())


def floors(rows: list[tuple[str, str]]) -> str:
    """Draw floors: imports go down only."""
    height = 40

    def drawn() -> Iterator[str]:
        for index, (name, text) in enumerate(rows):
            y = 10 + index * (height + 6)
            yield f'<rect x="40" y="{y}" width="690" height="{height}" rx="6"/>'
            yield _text(56, y + 25, name, "name")
            yield _text(250, y + 25, text, "soft")
        yield f'<path class="arrow" d="M20 14 20 {len(rows) * (height + 6)}"/>'

    return picture(740, len(rows) * (height + 6) + 14, drawn())


def walk(lanes: list[Lane], steps: list[Step], column: int = 130) -> str:
    """Draw a walk: lanes are columns, steps are rows from top to bottom, numbered as the page numbers them."""
    top, row = 62, 38
    bottom = top + row * len(steps) + 14

    def middle(lane: int) -> float:
        return column / 2 + lane * column

    def drawn() -> Iterator[str]:
        for index, lane in enumerate(lanes):
            yield f'<rect x="{middle(index) - column / 2 + 6:g}" y="6" width="{column - 12}" height="44" rx="6"/>'
            yield _text(middle(index), 24, lane.name, "name middle")
            yield _text(middle(index), 41, lane.text, "soft middle")
            yield f'<path d="M{middle(index):g} 50V{bottom}"/>'
        for index, step in enumerate(steps):
            yield from _row(index, step, top + row * index + 22)

    def _row(index: int, step: Step, y: int) -> Iterator[str]:
        text = f"{index + 1}. {step.text}"
        start, end = middle(step.source), middle(step.target)
        if step.source == step.target:
            width = 7.1 * len(text) + 20
            left = min(max(start - width / 2, 4), len(lanes) * column - width - 4)
            yield f'<rect x="{left:g}" y="{y - 16}" width="{width:g}" height="26" rx="13"/>'
            yield _text(left + width / 2, y + 1, text, "soft middle")
            return
        inset = 6 if end > start else -6
        yield _text((start + end) / 2, y - 7, text, "soft middle")
        yield f'<path class="arrow{" back" * step.back}" d="M{start + inset:g} {y} {end - inset:g} {y}"/>'

    return picture(len(lanes) * column, bottom + 6, drawn())


def drawings() -> dict[str, str]:
    """Every picture by its file's name."""
    return {"parts.svg": _parts(), "floors.svg": _floors(), "infer.svg": _infer(), "chat.svg": _chat()}


def _parts() -> str:
    return boxes(
        [
            Box("your program", "a gateway, a client, a test", 10, 70),
            Box("triton_adapter", "OpenAI calls, the SDK", 270, 10),
            Box("triton-proxy", "OpenAI's API as a server", 270, 130),
            Box("triton-emulator", "answers as Triton does", 530, 10),
            Box("tritonserver", "the real one", 530, 130),
            Box("triton-contract", "cases, recordings", 750, 70, 160),
        ],
        [
            Arrow((200, 84), (270, 48)),
            Arrow((200, 110), (270, 146)),
            Arrow((365, 130), (365, 64), "is built on"),
            Arrow((460, 37), (530, 37), "v2"),
            Arrow((460, 52), (530, 142)),
            Arrow((750, 84), (720, 52)),
            Arrow((750, 110), (720, 142)),
        ],
    )


def _floors() -> str:
    return floors(
        [
            ("cli · pytest_plugin", "tritonserver's flags, the fixtures"),
            ("emulator", "a server in a thread, as a context manager"),
            ("control · workers", "the API for tests; several processes as one server"),
            ("server", "sockets, event loop, sessions"),
            ("frontends", "http, grpc, metrics: read a request, write an answer"),
            ("inference", "the data plane: find, check, lease, submit, wait, end"),
            ("session", "what one client changes: models, shared memory, settings"),
            ("harness", "faults on purpose, stubs, the journal of requests"),
            ("backends", "python, ensemble, stand-ins"),
            ("engine", "validation, schedulers, statistics"),
            ("repository", "configs, folders, load and unload"),
            ("wire · protocol", "connections; bytes to values and back"),
            ("cxx", "numbers, sorting, hashing as C++ does them"),
        ]
    )


def _infer() -> str:
    lanes = [
        Lane("client", ""),
        Lane("wire", "the connection"),
        Lane("frontends", "http"),
        Lane("inference", "the data plane"),
        Lane("engine", "one model version"),
        Lane("backends", "python"),
        Lane("model.py", "in its thread"),
    ]
    return walk(
        lanes,
        [
            Step(0, 1, "bytes"),
            Step(1, 2, "request"),
            Step(2, 2, "find the session and the route; parse the body"),
            Step(2, 3, "InferRequest"),
            Step(3, 3, "the exchange begins; find the model, lease shared memory"),
            Step(3, 4, "call"),
            Step(4, 4, "validate in Triton's order, queue, batch"),
            Step(4, 5, "batch"),
            Step(5, 6, "execute(...)"),
            Step(6, 5, "responses", back=True),
            Step(5, 4, "responses", back=True),
            Step(4, 3, "InferResponse", back=True),
            Step(3, 2, "InferResponse", back=True),
            Step(2, 2, "render: Head, Body, End"),
            Step(2, 1, "head and body", back=True),
            Step(1, 0, "bytes", back=True),
            Step(1, 3, "the last byte is sent"),
            Step(3, 3, "the exchange ends: statistics and metrics count it"),
        ],
    )


def _chat() -> str:
    lanes = [
        Lane("client", "openai"),
        Lane("proxy: app", "routes, keys, limits"),
        Lane("proxy: router", "deployments"),
        Lane("generation", "pure steps"),
        Lane("transport", "connections"),
        Lane("Triton", "real or emulated"),
    ]
    return walk(
        lanes,
        [
            Step(0, 1, "chat, stream: true"),
            Step(1, 1, "check the key and its limits"),
            Step(1, 2, "request"),
            Step(2, 2, "choose a deployment"),
            Step(2, 3, "OpenAI body"),
            Step(3, 3, "apply the template; each parameter to its tensor"),
            Step(3, 4, "step: request"),
            Step(4, 5, "generate_stream"),
            Step(5, 4, "token events", back=True),
            Step(4, 3, "events", back=True),
            Step(3, 3, "read tokens, stops, tool calls"),
            Step(3, 1, "chat.completion.chunk", back=True),
            Step(1, 0, "data: {...}", back=True),
            Step(1, 1, "after the last: usage, metrics, budget"),
            Step(1, 0, "data: [DONE]", back=True),
        ],
        column=150,
    )


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for name, drawing in drawings().items():
        (IMAGES / name).write_text(drawing)
