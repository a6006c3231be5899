"""What `verify` says: the verdict, every tensor behind it, what it was found out on; as data, as JSON, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from plait.sharding.mesh_shape import AXES
from plait.specs.wording import shown
from plait.verification.culprit import Culprit
from plait.verification.effort import Departure
from plait.verification.evidence import Row
from plait.verification.trace import Precision
from plait.verification.verdict import VERDICTS, Verdict

__all__ = ["Standing", "Verification", "document", "sentence"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """On several hosts: the plan's ranks by host, the ranks that had nothing to do, and the axes whose groups have
    ranks on more than one host."""

    hosts: tuple[tuple[int, ...], ...]
    idle: tuple[int, ...]
    across: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """`tensors`, worst first. `drift`: by precision, how far the weights are from the reference's after two steps that
    followed one another, relative to their largest element. `losses`: of such steps in float32, the reference's and the
    parallel run's: all that a comparison of losses would have seen. `departures`: where ranks did not do what the plan
    says. `kept` and `narrowed` go by the job's keys."""

    verdict: Verdict
    tensors: tuple[Row, ...]
    departures: tuple[Departure, ...] = ()
    culprit: Culprit | None
    kept: Mapping[str, Any]
    narrowed: Mapping[str, Any]
    drift: Mapping[Precision, float]
    losses: tuple[tuple[float, float], ...]
    seconds: float
    witness: tuple[Row, ...] = ()  # transformers' module beside the reference, where it was asked for
    pinned: tuple[str, ...] = ()  # layers that compute in float32 or less whatever is asked
    standing: Standing | None = None  # None: on processes of this machine alone

    def __str__(self) -> str:
        return f"{self.verdict}: {sentence(self)}"

    @property
    def denied(self) -> bool:
        """Whether the parallel run is not the same model: a mistake, or NaN or infinity where one process has none."""
        return self.verdict == "BUG" or any(row.broken for row in self.tensors)

    @property
    def unproven(self) -> tuple[str, ...]:
        """The axes of the plan that it was verified without."""
        return tuple(axis for axis in AXES if self.narrowed.get(f"plan.{axis}", {}).get("verified") == 1)


def document(verification: Verification) -> dict[str, Any]:
    """The contract's document, ready for JSON."""
    return {
        "verdict": verification.verdict,
        "tensors": [asdict(row) for row in verification.tensors],
        "culprit": None if verification.culprit is None else asdict(verification.culprit),
        "kept": dict(verification.kept),
        "narrowed": dict(verification.narrowed),
        "drift": dict(verification.drift),
        "losses": [{"reference": one, "parallel": many} for one, many in verification.losses],
        "witness": [asdict(row) for row in verification.witness],
        "pinned": list(verification.pinned),
        "standing": None if verification.standing is None else asdict(verification.standing),
        "departures": [asdict(departure) for departure in verification.departures],
        "seconds": verification.seconds,
    }


def sentence(verification: Verification) -> str:
    """The verdict as a newcomer reads it."""
    told = _told(verification)
    if not verification.unproven or verification.denied:
        return told
    axes = " and ".join(verification.unproven)
    return f"{told} NOT proven: the {axes} axis, which these few ranks leave no room for (--ranks)."


def _told(verification: Verification) -> str:
    culprit = verification.culprit
    name = "" if culprit is None else culprit.tensor
    match verification.verdict:
        case "EXACT":
            return "The parallel run is the same model as one process, to the last bit."
        case "REASSOCIATION" | "ZERO":
            return (
                "The parallel run is the same model as one process. The two differ only as sums in another order do: "
                "the differences shrink with the precision, and a mistake's would not."
            )
        case "NONDETERMINISTIC":
            return (
                "Nothing can be proven: the model is not deterministic (equal runs differ, or its data sent it another "
                f"way), first in {name or _first(verification)}."
            )
        case "NONFINITE" if verification.denied:
            return (
                f"The parallel run is NOT the same model: NaN or infinity, where one process has none.{_blame(culprit)}"
            )
        case "NONFINITE":
            return f"Nothing can be proven: {name} is not finite (NaN or infinity)."
        case "PINNED":
            return (
                "The parallel run is the same model as one process, as far as float32 can tell: "
                f"{', '.join(verification.pinned)} can't be had in float64."
            )
        case "BUG":
            if any(row.verdict == "BUG" for row in verification.witness) and not verification.departures:
                return f"Neither side is the published model.{_blame(culprit)}"
            if all(row.verdict != "BUG" for row in verification.tensors):
                return f"Every value is right, but the ranks don't do what the plan says.{_blame(culprit)}"
            return f"The parallel run is NOT the same model as one process.{_blame(culprit)}"
        case "LOSSY":
            chosen = {
                key: verification.kept.get(f"plan.{key}") for key in ("compression", "synchronisation", "staleness")
            }
            narrowed = verification.narrowed.get("plan.compression")
            compression = str(narrowed["verified"] if narrowed else chosen["compression"])
            return _lossy(compression, chosen["synchronisation"], chosen["staleness"])
        case verdict:
            return f"The parallel run is the same model as one process, as far as {verdict} lets one see."


def _lossy(compression: str, synchronisation: object, staleness: object) -> str:
    """What the plan's own choice changes, and what is proven nevertheless."""
    alone = synchronisation not in ("all-reduce", None)
    choices = [f"synchronisation = {shown(synchronisation)}"] if alone else []
    choices += [f"staleness = {staleness}"] if staleness else []
    choices += [f"compression = {shown(compression)}"] if compression != "none" else []
    proven = (
        "the replicas' gradients together are the whole one's"
        if alone
        else "what is not sent in a step is not lost: sent and owed together are the gradient"
    )
    when = "replicas have, wherever they meet," if alone else "all replicas end a step with"
    return (
        f"The plan changes the mathematics ({', '.join(choices)}). Without that choice it is the same model as one "
        f"process; with it {when} equal bits, and {proven}."
    )


def _blame(culprit: Culprit | None) -> str:
    if culprit is None:
        return ""
    layer = f", in {culprit.layer}" if culprit.layer and culprit.layer not in culprit.tensor else ""
    axis = f"along the {culprit.axis} axis" if culprit.axis else "with every axis, so that none of them is to blame"
    return f" What departs first is {culprit.tensor}{layer}, {axis}."


def _first(verification: Verification) -> str:
    worst = max((row.verdict for row in verification.tensors), key=VERDICTS.index)
    return next(row.name for row in verification.tensors if row.verdict == worst)
