"""Stop sequences: however a text is cut into pieces, it ends before the first sequence that is complete."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from triton_adapter.generation.stopping import StopCutter


def cut(text: str, stops: list[str]) -> tuple[str, bool]:
    """The rule, as it is written: look for the sequences after each letter."""
    for end in range(len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))], True
    return text, False


@given(
    st.text("ab", max_size=30),
    st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=4),
    st.lists(st.integers(0, 30), max_size=4),
)
def test_no_cut_changes_where_the_text_ends(text: str, stops: list[str], cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(min(at, len(text)) for at in cuts)})
    for parts in ([text], list(text), [text[start:stop] for start, stop in pairwise(edges)]):
        cutter = StopCutter(stops)
        shown = [cutter.feed(part) for part in parts]
        assert ("".join([*shown, cutter.end()]), cutter.hit) == cut(text, stops)
