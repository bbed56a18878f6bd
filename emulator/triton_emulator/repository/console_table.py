"""The tables that tritonserver prints when it has started."""

from collections.abc import Sequence


def render_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An ASCII table as tritonserver prints it: it begins and ends with a line feed; a cell may hold several lines."""
    cells = [[cell.removesuffix("\n").split("\n") for cell in row] for row in (headers, *rows)]
    widths = [max(len(line) for row in cells for line in row[column]) for column in range(len(headers))]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    body = ["".join(_lines(row, widths)) for row in cells]
    return "\n" + rule + body[0] + rule + "".join(body[1:]) + rule


def _lines(row: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    height = max(len(cell) for cell in row)
    lines = []
    for number in range(height):
        parts = (cell[number] if number < len(cell) else "" for cell in row)
        lines.append("|" + "|".join(f" {p:<{w}} " for p, w in zip(parts, widths, strict=True)) + "|\n")
    return lines
