"""Where `plait plan` leaves the best plan, and where it must not: a plan that somebody wrote is never replaced unasked.

--out FILE     there, whatever it was, unless the command itself reads it: that is refused
no --out       plan.toml, if it is not there yet or is as Plait wrote it (`plans.seal`); else nowhere, which is said
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.output import Line
from plait.errors import UnusableInput
from plait.plans.seal import Origin, origin

if TYPE_CHECKING:
    from plait.plans.plan import Plan
    from plait.plans.prediction import Prediction

__all__ = ["BestPlanFile", "best_plan_file"]

_DEFAULT = Path("plan.toml")
_WHOSE: Mapping[Origin, str] = {
    "edited": "was edited since `plait plan` wrote it",
    "somebody's": "was not written by `plait plan`",
}
_ELSEWHERE = "--out FILE writes the best plan elsewhere"


@dataclass(frozen=True, kw_only=True)
class BestPlanFile:
    """`path`: where the best plan goes; None: nowhere, and `why_not` says why."""

    path: Path | None
    why_not: str | None = None

    def write(self, plan: Plan, prediction: Prediction) -> None:
        """Leave the plan there, if anywhere. Raises UnusableInput where nothing can be written."""
        from plait.plans.files import write_plan

        if self.path is not None:
            write_plan(self.path, plan, prediction)

    @property
    def document(self) -> Mapping[str, Any]:
        """For JSON."""
        return {"written": None if self.path is None else str(self.path), "not_written": self.why_not}

    @property
    def line(self) -> Line:
        """For people."""
        return (
            [("", f"written to {self.path}")] if self.why_not is None else [("yellow", f"not written: {self.why_not}")]
        )


def best_plan_file(out: Path | None, job: Path, explained: str | None) -> BestPlanFile:
    """The place that `out` names, or the default. `explained`: what --explain was given, a place in the ranking or a
    file. Raises UnusableInput where `out` is a file that is read."""
    reads = {"the job": job} | ({} if explained is None else {"the plan that --explain reads": Path(explained)})
    path = _DEFAULT if out is None else out
    read = next((what for what, file in reads.items() if _same(path, file)), None)
    if out is not None and read is not None:
        raise UnusableInput(f"--out {out} is {read}, which it would replace: name another file")
    if read is not None:
        return BestPlanFile(path=None, why_not=f"{path} is {read} ({_ELSEWHERE})")
    if out is None and path.exists() and (whose := origin(path)) != "Plait's":
        why_not = f"the {path} that is there {_WHOSE[whose]} ({_ELSEWHERE}, --out {path} replaces it)"
        return BestPlanFile(path=None, why_not=why_not)
    return BestPlanFile(path=path)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there, or has a name that no file has
        return False
