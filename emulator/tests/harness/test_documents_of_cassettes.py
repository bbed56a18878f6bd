"""Documents of cassettes: whatever was recorded is read as it was."""

import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from triton_emulator.harness.cassettes.documents import parsed, pieces_of, written

TEXTS = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(TEXTS, VALUES))
@example({"a line feed and others": "a\n...\n---\n\u2028...\n\x85b\r\n\tc \n"})
@example({"bytes that are no UTF-8": "\udcff"})
@example(
    {"words that YAML reads": ["yes", "null", "1", "1e5", "2026-01-01", "~", "&a", "*a", "!x", "=", "<<"]}
)
@example({"": "", "nothing": None})
def test_a_document_is_read_as_it_was_written(document: dict[str, Any]) -> None:
    text = written(document).decode()
    assert json.dumps(parsed(text)) == json.dumps(document)
    assert pieces_of(text + text) == [(0, text), (text.count("\n"), text)]
