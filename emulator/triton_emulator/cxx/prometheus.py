"""Numbers as prometheus-cpp writes them."""

import math


def as_printed(value: float) -> str:
    """At most 16 significant digits, "Nan", "+Inf" and "-Inf"."""
    if math.isnan(value):
        return "Nan"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.16g}"
