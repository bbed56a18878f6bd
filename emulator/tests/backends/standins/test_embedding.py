"""Simulated embedding models: vectors of unit length that depend only on the text."""

import numpy as np
import pytest

from emulator.tests.backends.standins.driving import Exchange, Given, Model
from triton_emulator.engine.executor import LoadError
from triton_emulator.protocol.datatypes import Array

TEXTS = """
backend: "onnxruntime"
input [ { name: "input_text" data_type: TYPE_STRING dims: [ -1 ] } ]
output [ { name: "embeddings" data_type: TYPE_FP32 dims: [ -1, %s ] } ]
"""
FIXED, OPEN = TEXTS % 8, TEXTS % -1

IDS = """
backend: "tensorrt" max_batch_size: 4
input [ { name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] },
        { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] } ]
output [ { name: "sentence_embedding" data_type: TYPE_FP16 dims: [ 16 ] },
         { name: "token_count" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""


def vectors(exchange: Exchange, name: str = "embeddings") -> Array:
    return np.array(exchange.texts(name)[0], dtype=np.float64)


def ids(*rows: list[int]) -> Given:
    flat = [token for one in rows for token in one]
    shape = [len(rows), len(rows[0])]
    return {"attention_mask": ("INT64", [1] * len(flat), shape), "input_ids": ("INT64", flat, shape)}


def test_each_text_gets_a_vector_of_unit_length() -> None:
    table = vectors(Model(FIXED).ask({"input_text": ("BYTES", ["good morning", "good night"])}))
    assert table.shape == (2, 8)
    assert np.linalg.norm(table, axis=1) == pytest.approx([1, 1], abs=1e-6)


def test_a_text_has_the_same_vector_in_every_batch() -> None:
    alone = vectors(Model(FIXED).ask({"input_text": ("BYTES", ["b"])}))
    among = vectors(Model(FIXED).ask({"input_text": ("BYTES", ["a", "b", "c"])}))
    assert (among[1] == alone[0]).all()


def test_another_text_or_another_seed_gives_another_vector() -> None:
    one = vectors(Model(FIXED).ask({"input_text": ("BYTES", ["a"])}))
    assert not np.allclose(one, vectors(Model(FIXED).ask({"input_text": ("BYTES", ["b"])})))
    assert not np.allclose(one, vectors(Model(FIXED, "{seed: 1}").ask({"input_text": ("BYTES", ["a"])})))


@pytest.mark.parametrize("settings, dim", [("{}", 384), ("{dim: 12}", 12)], ids=["by itself", "by settings"])
def test_an_open_dimension_is_chosen(settings: str, dim: int) -> None:
    assert vectors(Model(OPEN, settings).ask({"input_text": ("BYTES", ["a"])})).shape == (1, dim)


def test_no_texts_give_no_vectors() -> None:
    exchange = Model(FIXED).ask({"input_text": ("BYTES", [])})
    assert exchange.responses[0].outputs[0].shape == (0, 8)
    assert bytes(exchange.responses[0].outputs[0].data) == b""


def test_token_ids_give_one_vector_for_each_row() -> None:
    exchange = Model(IDS).ask(ids([101, 7592, 102], [101, 2088, 102]))
    table = vectors(exchange, "sentence_embedding")
    assert table.shape == (2, 16)
    assert np.linalg.norm(table, axis=1) == pytest.approx([1, 1], abs=1e-2)
    alone = vectors(Model(IDS).ask(ids([101, 2088, 102])), "sentence_embedding")
    assert (table[1] == alone[0]).all()


def test_outputs_that_hold_no_vectors_hold_synthetic_values() -> None:
    exchange = Model(IDS).ask(ids([101, 102]))
    assert exchange.outputs == ["sentence_embedding", "token_count"]
    assert exchange.responses[0].outputs[1].shape == (1, 1)


def test_hidden_states_give_one_vector_for_each_token() -> None:
    config = IDS.replace("dims: [ 16 ]", "dims: [ -1, 16 ]")
    table = vectors(Model(config).ask(ids([101, 7592, 102])), "sentence_embedding")
    assert table.shape == (1, 3, 16)


def test_one_vector_stands_for_all_texts_where_the_config_has_room_for_one() -> None:
    config = FIXED.replace("dims: [ -1, 8 ]", "dims: [ 8 ]")
    assert vectors(Model(config).ask({"input_text": ("BYTES", ["a", "b"])})).shape == (8,)


def test_an_answer_can_take_its_time() -> None:
    exchange = Model(FIXED, "{behaviour: embedding, delay_ms: 30}").ask({"input_text": ("BYTES", ["a"])})
    assert exchange.times == [0.03]


def test_a_model_without_a_vector_to_give_cannot_embed() -> None:
    config = FIXED.replace("TYPE_FP32", "TYPE_STRING")
    with pytest.raises(LoadError, match="needs a BYTES or integer input and a float output"):
        Model(config, "{behaviour: embedding}")
