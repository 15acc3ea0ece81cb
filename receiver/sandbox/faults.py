"""Scripted faults: deliberate errors of the sandbox, and for how many requests they apply.

A fault is a JSON object with a `kind`; `FAULT_KINDS` lists the kinds, and their dataclasses
the fields. `times` is the number of requests (null: until it is cleared), `delay_seconds`
the delay of the answer. script.py applies faults in order. The parser refuses unknown
fields and names the place: `faults[2].status`.
"""

import random
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, TypeAlias

from receiver.sandbox import checks
from receiver.sandbox.checks import InvalidFaultError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The fields of all faults."""

    kind: ClassVar[str]
    times: int | None = field(default=1, metadata={"check": checks.times})
    delay_seconds: float = field(default=0.0, metadata={"check": checks.seconds})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass(Fault):
    """No fault: requests pass until the next fault."""

    kind: ClassVar[str] = "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(Fault):
    """The right answer, delayed: the items are stored before the delay."""

    kind: ClassVar[str] = "delay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Fault):
    """A status for the whole request; no item is stored.

    `retry_after` is sent unchanged if it is a text, as seconds if it is a number, or, with
    `retry_after_form` "date", as the date that many seconds ahead. With `gzip` the body is
    compressed, requested or not.
    """

    kind: ClassVar[str] = "status"
    status: int = field(metadata={"check": checks.status})
    retry_after: int | str | None = field(default=None, metadata={"check": checks.retry_after})
    retry_after_form: str = field(
        default="seconds", metadata={"check": checks.one_of("seconds", "date")}
    )
    body: str | None = field(default=None, metadata={"check": checks.text})
    content_type: str | None = field(default=None, metadata={"check": checks.optional_header})
    gzip: bool = field(default=False, metadata={"check": checks.boolean})


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect(Fault):
    """A redirect that keeps the method; no item is stored."""

    kind: ClassVar[str] = "redirect"
    status: int = field(default=307, metadata={"check": checks.one_of(307, 308)})
    location: str = field(metadata={"check": checks.header})
    cache_control: str | None = field(default=None, metadata={"check": checks.optional_header})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Fault):
    """A TCP reset: before the body is read, after the items are stored, or within the answer."""

    kind: ClassVar[str] = "reset"
    when: str = field(
        default="before_read",
        metadata={"check": checks.one_of("before_read", "after_accept", "mid_answer")},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Items(Fault):
    """Every n-th item of the request is refused; the others are judged normally."""

    kind: ClassVar[str] = "items"
    every: int = field(default=2, metadata={"check": checks.positive})
    status_code: int = field(default=429, metadata={"check": checks.status})
    message: str | None = field(default=None, metadata={"check": checks.text})
    retry_after: int | str | None = field(default=None, metadata={"check": checks.retry_after})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Fault):
    """An unreadable body with the right status; with `accept`, the items are stored."""

    kind: ClassVar[str] = "answer"
    how: str = field(
        default="truncated", metadata={"check": checks.one_of("truncated", "garbage", "empty")}
    )
    accept: bool = field(default=True, metadata={"check": checks.boolean})


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm(Fault):
    """Random faults, reproducible by their seed.

    `faults` holds pairs of a probability and a fault; the remaining requests pass.
    """

    kind: ClassVar[str] = "storm"
    seed: int = field(default=0, metadata={"check": checks.integer})
    faults: tuple[tuple[float, Fault], ...] = field(
        default_factory=lambda: DEFAULT_STORM,
        metadata={"check": lambda value, place: _chances(value, place)},  # noqa: PLW0108  defined below,
    )

    def draw(self, chance: random.Random) -> Fault | None:
        """Return the fault of the next request, or None."""
        left = chance.random()
        for probability, fault in self.faults:
            left -= probability
            if left < 0:
                return fault
        return None


FaultClass: TypeAlias = type[Fault]
FAULT_KINDS: Mapping[str, FaultClass] = {
    kind.kind: kind for kind in (Pass, Delay, Status, Redirect, Reset, Items, Answer, Storm)
}
DEFAULT_STORM: tuple[tuple[float, Fault], ...] = (
    (0.08, Status(status=503)),
    (0.06, Status(status=500)),
    (0.06, Status(status=429, retry_after=1)),
    (0.03, Status(status=429, retry_after=1, retry_after_form="date")),
    (0.03, Status(status=408)),
    (0.03, Status(status=502)),
    (0.02, Status(status=439, retry_after=1)),
    (0.06, Reset(when="before_read")),
    (0.05, Reset(when="after_accept")),
    (0.04, Reset(when="mid_answer")),
    (0.10, Items(every=3, status_code=500)),
    (0.04, Answer(how="truncated")),
    (0.03, Answer(how="garbage")),
    (0.07, Delay(delay_seconds=0.2)),
)


def parse(document: object, place: str = "faults") -> list[Fault]:
    """Read a list of faults, or a single one.

    Raises: InvalidFaultError, which names the place of the mistake.
    """
    if isinstance(document, dict):
        return [_fault(document, place)]
    if not isinstance(document, list):
        raise InvalidFaultError(place, "a list of faults", document)
    return [_fault(element, f"{place}[{index}]") for index, element in enumerate(document)]


def to_json(fault: Fault) -> dict[str, Any]:
    """Return a fault in the form that `parse` reads."""
    written = {"kind": fault.kind} | {f.name: getattr(fault, f.name) for f in fields(fault)}
    if isinstance(fault, Storm):
        written["faults"] = [
            {"probability": probability, "fault": to_json(inner)}
            for probability, inner in fault.faults
        ]
    return written


def _fault(document: object, place: str) -> Fault:
    if not isinstance(document, dict):
        raise InvalidFaultError(place, "an object", document)
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in FAULT_KINDS:
        raise InvalidFaultError(f"{place}.kind", "one of " + ", ".join(FAULT_KINDS), kind)
    fault_class = FAULT_KINDS[kind]
    known: dict[str, Field[Any]] = {f.name: f for f in fields(fault_class)}
    for name in document:
        if name != "kind" and name not in known:
            raise InvalidFaultError(f"{place}.{name}", "one of " + ", ".join(known), name)
    values = {
        name: known[name].metadata["check"](value, f"{place}.{name}")
        for name, value in document.items()
        if name != "kind"
    }
    for name, spec in known.items():
        if spec.default is MISSING and spec.default_factory is MISSING and name not in values:
            raise InvalidFaultError(f"{place}.{name}", "a value", None)
    return fault_class(**values)


def _chances(value: object, place: str) -> tuple[tuple[float, Fault], ...]:
    if not isinstance(value, list) or not value:
        raise InvalidFaultError(place, 'a list of {"probability", "fault"}', value)
    chances: list[tuple[float, Fault]] = []
    for index, element in enumerate(value):
        where = f"{place}[{index}]"
        if not isinstance(element, dict) or element.keys() != {"probability", "fault"}:
            raise InvalidFaultError(where, 'an object with "probability" and "fault"', element)
        fault = _fault(element["fault"], f"{where}.fault")
        if isinstance(fault, Storm):
            raise InvalidFaultError(f"{where}.fault.kind", "any kind but storm", "storm")
        chances.append((checks.probability(element["probability"], f"{where}.probability"), fault))
    total = sum(probability for probability, _ in chances)
    if total > 1 + 1e-9:
        raise InvalidFaultError(place, "probabilities that sum to at most 1", total)
    return tuple(chances)
