"""The metrics that models define: a registry that the metrics port shows, and `pb_utils.MetricFamily` and `Metric`."""

import re
import threading
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from triton_emulator.backends.python.binding import MODULE, Bound, cast_error, incompatible, text_of
from triton_emulator.backends.python.values import REQUIRED, MetricKind, TritonModelException, bind_arguments
from triton_emulator.cxx.prometheus import as_printed

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]


class MetricError(Exception):
    """A refusal of Triton's metrics API; the text is Triton's."""


@dataclass(slots=True, eq=False)
class Series:
    """One labelled series of a family. A histogram has `bounds`, and `counts` between them (one more than bounds)."""

    labels: Labels
    value: float = 0.0
    bounds: tuple[float, ...] = ()
    counts: list[int] = field(default_factory=list)
    #: how many Metric objects refer to it; it is removed with the last one
    holders: int = 0


@dataclass(slots=True)
class Family:
    """A metric's name, help text and kind ("counter", "gauge" or "histogram"), with its series in order of creation."""

    name: str
    description: str
    kind: str
    series: dict[Labels, Series] = field(default_factory=dict)


class MetricRegistry:
    """The metrics of all models of a session. It may be used on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: dict[str, Family] = {}
        #: holders that have been destroyed. 2.51 hears of one late, even after a metric that is made right afterwards
        self._gone: deque[tuple[Family, Series]] = deque()

    def family(self, name: str, description: str, kind: str) -> Family:
        """The family of that name; a new one is made. 2.51: it keeps its first description and is never removed.

        Raises MetricError for an invalid name, or if the family is of another kind.
        """
        if not _METRIC_NAME.fullmatch(name):
            raise MetricError("Invalid metric name")
        with self._lock:
            family = self._families.setdefault(name, Family(name, description, kind))
        if family.kind != kind:
            raise MetricError("Family name already exists with different type")
        return family

    def hold(self, family: Family, labels: Labels, bounds: tuple[float, ...]) -> Series:
        """The series with those labels, with one more holder; a new one is made. Raises MetricError."""
        if not all(_LABEL_NAME.fullmatch(name) for name, _ in labels):
            raise MetricError("Invalid label name")
        if any(left >= right for left, right in pairwise(bounds)):
            raise MetricError("Bucket Boundaries must be strictly sorted")
        with self._lock:
            series = family.series.setdefault(
                labels, Series(labels, bounds=bounds, counts=[0] * (len(bounds) + 1))
            )
            series.holders += 1
            self._settle()
        return series

    def release(self, family: Family, series: Series) -> None:
        """Remove one holder; a series without holders is removed. Takes no lock: the garbage collector calls it."""
        self._gone.append((family, series))

    def add(self, series: Series, value: float) -> None:
        """Increment a counter or a gauge."""
        with self._lock:
            series.value += value

    def assign(self, series: Series, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            series.value = value

    def observe(self, series: Series, value: float) -> None:
        """Count a value in a histogram."""
        with self._lock:
            series.value += value
            series.counts[bisect_left(series.bounds, value)] += 1

    def value(self, series: Series) -> float:
        """The value of a counter or a gauge."""
        return series.value

    def lines(self, kind: str) -> list[str]:
        """The families of a kind ("counter", "gauge" or "histogram") as lines of Prometheus text.

        In order of creation; those without series are left out. In Triton's text they follow its own of that kind.
        """
        with self._lock:
            self._settle()
            shown = [family for family in self._families.values() if family.kind == kind and family.series]
            return [line for family in shown for line in _exposition(family)]

    def _settle(self) -> None:
        while self._gone:
            family, series = self._gone.popleft()
            series.holders -= 1
            if series.holders <= 0 and family.series.get(series.labels) is series:
                del family.series[series.labels]


def _exposition(family: Family) -> list[str]:
    # 2.51: the help text is not escaped; an empty one gives no line
    lines = [f"# HELP {family.name} {family.description}"] if family.description else []
    lines.append(f"# TYPE {family.name} {family.kind}")
    for series in reversed(
        family.series.values()
    ):  # 2.51: the newest of a few comes first (a hash map's order)
        if family.kind == "histogram":
            lines += _histogram(family.name, series)
        else:
            lines.append(f"{family.name}{_braced(series.labels)} {as_printed(series.value)}")
    return lines


def _histogram(name: str, series: Series) -> list[str]:
    lines = [
        f"{name}_count{_braced(series.labels)} {sum(series.counts)}",
        f"{name}_sum{_braced(series.labels)} {as_printed(series.value)}",
    ]
    total = 0
    for bound, count in zip((*series.bounds, float("inf")), series.counts, strict=True):
        total += count
        lines.append(f"{name}_bucket{_braced((*series.labels, ('le', as_printed(bound))))} {total}")
    return lines


def _braced(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = ((k, v.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')) for k, v in labels)
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"


class OlderMetric(Bound):
    """One series of a family. `MetricFamily.Metric` makes it; its constructor refuses. It is Metric until 2.48."""

    __module__ = MODULE
    __slots__ = ("_owner", "_series")

    _owner: "_Owner"
    _series: Series

    def __init__(self) -> None:
        raise TypeError("c_python_backend_utils.Metric: No constructor defined!")

    def __del__(self) -> None:
        if (owner := getattr(self, "_owner", None)) is not None:  # there is none if the constructor raised
            owner.release(self._series)

    def increment(self, *args: Any, **kwargs: Any) -> None:
        value = self._number("increment", args, kwargs)
        what = "Failed to increment metric value"
        self._check(what, "Increment", ("counter", "gauge"))
        if value < 0 and self._owner.family.kind == "counter":
            self._fail(
                what,
                "TRITONSERVER_METRIC_KIND_COUNTER can only be incremented monotonically by non-negative values.",
            )
        self._owner.registry.add(self._series, value)

    def set(self, *args: Any, **kwargs: Any) -> None:
        value = self._number("set", args, kwargs)
        self._check("Failed to set metric value", "Set", ("gauge",))
        self._owner.registry.assign(self._series, value)

    def value(self) -> float:
        self._check("Failed to get metric value", "Value", ("counter", "gauge"))
        return self._owner.registry.value(self._series)

    def _check(self, what: str, operation: str, kinds: tuple[str, ...]) -> None:
        if self._owner.dead:
            raise TritonModelException(
                f"{what}: Invalid metric operation as the corresponding 'MetricFamily' has been deleted. The "
                "'MetricFamily' object should be deleted AFTER its corresponding 'Metric' objects have been deleted."
            )
        kind = self._owner.family.kind
        if kind not in kinds:
            self._fail(what, f"TRITONSERVER_METRIC_KIND_{kind.upper()} does not support {operation}")

    def _fail(self, what: str, text: str) -> None:
        raise TritonModelException(f"{what}: {_failed(self._owner.instance, text)}")

    def _number(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        if len(args) != 1 or kwargs or not hasattr(args[0], "__float__"):
            signature = "(self: c_python_backend_utils.Metric, arg0: float) -> None"
            raise incompatible(function, (signature,), (self, *args), kwargs)
        return float(args[0])


class Metric(OlderMetric):
    """One series of a family that may be a histogram."""

    __module__ = MODULE
    __slots__ = ()

    def observe(self, *args: Any, **kwargs: Any) -> None:
        value = self._number("observe", args, kwargs)
        self._check("Failed to observe metric value", "Observe", ("histogram",))
        self._owner.registry.observe(self._series, value)


OlderMetric.__name__ = OlderMetric.__qualname__ = "Metric"


@dataclass(slots=True)
class _Owner:
    """What a MetricFamily object and its Metric objects share.

    `dead` is set when the MetricFamily object has been destroyed; `held` are the series of its Metric objects.
    """

    instance: str
    registry: MetricRegistry
    family: Family
    dead: bool = False
    held: list[Series] = field(default_factory=list)

    def release(self, series: Series) -> None:
        """A Metric object has been destroyed."""
        if not self.dead:
            self.held.remove(series)
            self.registry.release(self.family, series)

    def end(self) -> None:
        """The MetricFamily object has been destroyed: its Metric objects become useless."""
        self.dead = True
        for series in self.held:
            self.registry.release(self.family, series)


class MetricFamily(Bound):
    """A family of metrics. Each instance of a model has a subclass with its own registry and instance name."""

    __module__ = MODULE
    __slots__ = ("_owner",)

    COUNTER = MetricKind.COUNTER
    GAUGE = MetricKind.GAUGE

    #: whether there are histograms
    _histograms: bool
    _registry: MetricRegistry
    _instance: str
    _SIGNATURE = (
        "c_python_backend_utils.MetricFamily(name: str, description: str, "
        "kind: c_python_backend_utils.MetricKind)"
    )
    _OLDER_METRIC_SIGNATURE = (
        "(self: c_python_backend_utils.MetricFamily, labels: object = None) -> c_python_backend_utils.Metric"
    )
    _METRIC_SIGNATURE = (
        "(self: c_python_backend_utils.MetricFamily, labels: object = None, buckets: object = None) "
        "-> c_python_backend_utils.Metric"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = ("name", "description", "kind")
        *texts, kind = bind_arguments(args, kwargs, names, (REQUIRED,) * 3)
        name, description = map(text_of, texts)
        if name is None or description is None or not isinstance(kind, MetricKind):
            raise incompatible("__init__", (self._SIGNATURE,), args, kwargs)
        try:
            family = self._registry.family(name, description, kind.name.lower())
        except MetricError as error:
            text = _failed(self._instance, str(error))
            raise TritonModelException(f"Error when creating MetricFamily: {text}") from None
        self._owner = _Owner(self._instance, self._registry, family)

    def __del__(self) -> None:
        if (owner := getattr(self, "_owner", None)) is not None:  # there is none if the constructor raised
            owner.end()

    def Metric(self, *args: Any, **kwargs: Any) -> OlderMetric:  # noqa: N802 Triton's name
        if self._histograms:
            labels, buckets = bind_arguments(args, kwargs, ("labels", "buckets"), (None, None))
        else:
            (labels,), buckets = bind_arguments(args, kwargs, ("labels",), (None,)), None
        if labels is REQUIRED:
            signature = self._METRIC_SIGNATURE if self._histograms else self._OLDER_METRIC_SIGNATURE
            raise incompatible("Metric", (signature,), (self, *args), kwargs)
        pairs = self._labels(labels)
        bounds = self._bounds(buckets)
        try:
            series = self._registry.hold(self._owner.family, pairs, bounds)
        except MetricError as error:
            text = _failed(self._instance, str(error))
            raise TritonModelException(f"Error when creating Metric: {text}") from None
        kind: type[OlderMetric] = Metric if self._histograms else OlderMetric
        metric = kind.__new__(kind)
        metric._owner, metric._series = self._owner, series
        self._owner.held.append(series)
        return metric

    def _labels(self, labels: Any) -> Labels:
        if labels is None:
            return ()
        if not isinstance(labels, dict):
            raise TritonModelException("Failed to create metric. Labels must be a dictionary.")
        if not all(isinstance(value, str) for value in labels.values()):
            text = _failed(self._instance, "attempt to access JSON non-string as string")
            raise TritonModelException(f"Error when creating Metric: {text}")
        return tuple(sorted((str(key), str.__str__(value)) for key, value in labels.items()))

    def _bounds(self, buckets: Any) -> tuple[float, ...]:
        if self._owner.family.kind != "histogram":
            if buckets is not None:
                raise TritonModelException("Failed to create metric. Unexpected buckets found.")
            return ()
        if buckets is None:
            raise TritonModelException("Failed to create metric. Missing required buckets.")
        if not isinstance(buckets, list):
            raise TritonModelException("Failed to create metric. Buckets must be a list.")
        if not all(isinstance(bound, int | float) for bound in buckets):
            raise cast_error()
        return tuple(float(bound) for bound in buckets)


def _failed(instance: str, text: str) -> str:
    return f"Failed to process the request for model '{instance}', message: {text}"
