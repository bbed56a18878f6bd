"""The header of a generate answer that says how busy a model's KV cache is, in ORCA's form (from 2.56 on).

A client asks for it by the header `endpoint-load-metrics-format`. It is made from a metric of TensorRT-LLM's backend,
which is looked for in the text of the metrics port, as Triton does. A Python model may have a metric of that name.
"""

import re

from triton_emulator.protocol import json_dialect as js
from triton_emulator.session.state import SessionState
from triton_emulator.wire.reply import Headers

#: the request header, in lower case
ASKED = b"endpoint-load-metrics-format"
_METRIC = re.compile(r"nv_trt_llm_kv_cache_block_metrics(?:\{(.*?)\})?\s*(\d+(?:\.\d+)?)", re.ASCII)
_TYPE = re.compile(r'(?:^|\W)kv_cache_block_type="([^"]*)"', re.ASCII)
_KINDS = ("counter", "gauge", "histogram")


def load_metrics(session: SessionState, form: bytes) -> Headers:
    """The header in a form, `text` or `json`; none for another form, or without the metric."""
    if not session.settings.allow_metrics:
        return ()
    text = "\n".join(line for kind in _KINDS for line in session.model_metrics.lines(kind))
    blocks = {
        kind: float(value) for labels, value in _METRIC.findall(text) for kind in _TYPE.findall(labels)[-1:]
    }
    if not {"tokens_per", "used", "max"} <= blocks.keys():
        return ()
    most = blocks["max"]
    utilization = blocks["used"] / most if most > 0 else 0.0
    capacity = int(most * blocks["tokens_per"])
    if form == b"text":
        said = (
            f"TEXT named_metrics.kv_cache_utilization={utilization:.6f}, "
            f"named_metrics.max_token_capacity={capacity}"
        ).encode()
    elif form == b"json":
        named: js.Value = {"kv_cache_utilization": utilization, "max_token_capacity": capacity}
        said = b"JSON " + js.write({"named_metrics": named})
    else:
        return ()
    return ((b"endpoint-load-metrics", said),)
