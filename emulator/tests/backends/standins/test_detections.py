"""The outputs of a stand-in for a detector agree with each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from triton_emulator import Emulator

IMAGE = 'input { name: "image" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] }\n'


def outputs(*specs: str) -> str:
    """A config's outputs from "name TYPE dims...", and a label file as the fourth word from "=file"."""
    text = ""
    for spec in specs:
        name, kind, *dims = spec.split()
        label = f'label_filename: "{dims.pop()[1:]}"' if dims[-1].startswith("=") else ""
        text += f'output {{ name: "{name}" data_type: TYPE_{kind} dims: [ {", ".join(dims)} ] {label} }}\n'
    return text


EFFICIENT_NMS = outputs(
    "num_dets INT32 1", "det_boxes FP32 20 4", "det_scores FP32 20", "det_classes INT32 20 =labels.txt"
)
TENSORFLOW = outputs(
    "detection_boxes FP32 20 4", "detection_classes FP32 20", "detection_scores FP32 20", "num_detections FP32 1",
    "raw_detection_scores FP32 50 7",
)  # fmt: skip
FIXED_BATCH = outputs("num_detections INT32 1 1", "nmsed_boxes FP32 1 20 4", "nmsed_scores FP32 1 20 1",
                      "nmsed_classes INT64 1 20 1")  # fmt: skip
VARIABLE = outputs("boxes FP32 -1 4", "scores FP32 -1", "labels INT64 -1", "num_boxes INT32 1")
COUNTED = outputs("detection_count INT32 1", "scores FP32 20", "classes STRING 20 =labels.txt")
LABELS = ["person", "bicycle", "car"]


def answers(repository: Path, config: str, settings: str = "{}", rows: int = 6) -> list[dict[str, Any]]:
    """The outputs of a batching detector for some images, by name, one dictionary for each image."""
    folder = repository / "m"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text('backend: "tensorrt" max_batch_size: 8\n' + IMAGE + config)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    (repository / "emulator.yaml").write_text(f"models: {{m: {settings}}}")
    data = [float(number) for number in range(rows * 12)]
    asked = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [rows, 3, 2, 2], "data": data}]}
    with Emulator(repository) as triton:
        answer = httpx.post(f"{triton.http_url}/v2/models/m/infer", json=asked).json()
    found: list[dict[str, Any]] = [{} for _ in range(rows)]
    for output in answer["outputs"]:
        width = len(output["data"]) // rows
        for row in range(rows):
            found[row][output["name"]] = output["data"][row * width : (row + 1) * width]
    return found


def agree(
    count: float, boxes: Sequence[float], scores: Sequence[float], classes: Sequence[float], known: int
) -> None:
    """Check one answer: `known` is how many classes there are."""
    entries = len(scores)
    assert len(boxes) == 4 * entries
    assert len(classes) == entries
    assert 1 <= count <= entries
    assert count == int(count)
    used = int(count)
    assert scores[:used] == sorted(scores[:used], reverse=True)
    assert all(0 < score < 1 for score in scores[:used])
    assert not any([*scores[used:], *boxes[4 * used :], *classes[used:]])
    assert all(0 <= one < known and one == int(one) for one in classes)
    for at in range(0, 4 * used, 4):
        left, top, right, bottom = boxes[at : at + 4]
        assert left <= right
        assert top <= bottom


@pytest.mark.parametrize(
    "config, names, known",
    [
        (EFFICIENT_NMS, ("num_dets", "det_boxes", "det_scores", "det_classes"), 3),
        (TENSORFLOW, ("num_detections", "detection_boxes", "detection_scores", "detection_classes"), 10),
        (FIXED_BATCH, ("num_detections", "nmsed_boxes", "nmsed_scores", "nmsed_classes"), 10),
    ],
    ids=["TensorRT's plugin", "TensorFlow's detection API", "a batch of one in the shapes"],
)
def test_count_boxes_scores_and_classes_agree(
    tmp_path: Path, config: str, names: tuple[str, str, str, str], known: int
) -> None:
    found = answers(tmp_path, config)
    for answer in found:
        count, boxes, scores, classes = (answer[name] for name in names)
        agree(count[0], boxes, scores, classes, known)
    assert len({answer[names[0]][0] for answer in found}) > 1


def test_the_raw_outputs_of_a_detector_are_not_ordered(tmp_path: Path) -> None:
    [answer] = answers(tmp_path, TENSORFLOW, rows=1)
    raw = answer["raw_detection_scores"]
    assert len(raw) == 350
    assert all(raw)
    assert raw != sorted(raw, reverse=True)


@pytest.mark.parametrize(
    "settings, entries", [("{}", 1), ("{dims: {boxes: [7, 4]}}", 7), ('{dims: {scores: ["image[1]"]}}', 2)]
)
def test_a_variable_number_of_entries_is_the_same_in_all_outputs(
    tmp_path: Path, settings: str, entries: int
) -> None:
    for answer in answers(tmp_path, VARIABLE, settings):
        assert answer["num_boxes"] == [entries]
        assert len(answer["scores"]) == entries
        agree(entries, answer["boxes"], answer["scores"], answer["labels"], 10)


def test_a_count_of_the_settings_says_how_many_entries_are_used(tmp_path: Path) -> None:
    for answer in answers(tmp_path, EFFICIENT_NMS, "{values: {num_dets: 3}}"):
        assert answer["num_dets"] == [3]
        agree(3, answer["det_boxes"], answer["det_scores"], answer["det_classes"], 3)


def test_values_and_a_range_of_the_settings_count(tmp_path: Path) -> None:
    [answer] = answers(tmp_path, EFFICIENT_NMS, "{range: [5, 6], values: {det_classes: [9]}}", rows=1)
    assert set(answer["det_classes"]) == {9}
    used = answer["num_dets"][0]
    assert all(5 <= score < 6 for score in answer["det_scores"][:used])


def test_a_detector_without_boxes_names_classes_by_its_labels(tmp_path: Path) -> None:
    for answer in answers(tmp_path, COUNTED):
        used = answer["detection_count"][0]
        assert 1 <= used <= 20
        assert set(answer["classes"][:used]) <= set(LABELS)
        assert set(answer["classes"][used:]) <= {""}
        assert answer["scores"] == sorted(answer["scores"], reverse=True)


def test_scores_of_a_model_that_is_no_detector_keep_their_order(tmp_path: Path) -> None:
    [answer] = answers(tmp_path, outputs("scores FP32 20"), rows=1)
    assert answer["scores"] != sorted(answer["scores"], reverse=True)
