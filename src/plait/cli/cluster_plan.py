"""`plait plan` for jobs whose machines stand in the catalogue: the same document and table as for this machine, with
what only a cluster has: bills, plans that come to mind, what better machines would bring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.cli.explained import explain_on_cluster, what_if_document, what_if_lines
from plait.cli.model_size import model_size
from plait.cli.output import Answer, Line
from plait.cli.ranked import ranked_document, ranked_lines
from plait.units import Bytes, Seconds

if TYPE_CHECKING:
    from plait.cli.best_plan_file import BestPlanFile
    from plait.cli.explained import Explanation
    from plait.clusters.answer import ClusterPlan, ClusterPlans
    from plait.clusters.bill import Bill, Objective
    from plait.clusters.played import Played
    from plait.specs.job import Job
    from plait.specs.training import TrainingSpec

__all__ = ["bill_document", "bill_lines", "cluster_answer", "cluster_document", "cluster_lines", "memory_line"]

_KWH = 3.6e6  # joules


def cluster_answer(
    path: Path,
    job: Job,
    top: int | None,
    file: BestPlanFile,
    objective: Objective,
    *,
    explain: str | None,
    page: Path | None = None,
    again: Sequence[str] = (),
) -> Answer:
    """The answer of `plait plan` for the job at `path`, on machines of the catalogue; writes the best plan to its
    `file`, and draws the `page`. `explain`: the plan that is asked for, its place or its file.
    `again`: commands for the page."""
    from plait.cli.page_of_cluster import page_of_cluster
    from plait.cli.page_of_plan import write_page
    from plait.clusters.answer import plan_cluster

    plans = plan_cluster(job, objective)
    told = None if explain is None else explain_on_cluster(explain, plans)
    file.write(plans.best.plan, plans.best.prediction)
    document = cluster_document(plans, top or len(plans.plans), told) | dict(file.document)
    lines = [*cluster_lines(plans, top, told), file.line]
    if page is not None:
        write_page(page, page_of_cluster(path, plans, again))
        document["page"] = str(page)
        lines.append([("", f"page written to {page}")])
    return Answer(document=document, lines=lines)


def cluster_document(plans: ClusterPlans, top: int, told: Explanation | None = None) -> dict[str, Any]:
    """The contract's `plan` document, with the first `top` plans, and what is `told` of one of them."""
    from plait.layers.parameters import parameters
    from plait.plans.report import parameters_document

    document: dict[str, Any] = {
        **parameters_document(parameters(plans.job.model)),
        "search_seconds": plans.search_seconds,
        "considered": plans.considered,
        "legal": plans.legal,
        "unfit": plans.unfit,
        "unpriced": plans.unpriced,
        "objective": plans.objective,
        "plans": [_ranked_document(one) for one in plans.plans[:top]],
        "too_close_to_call": plans.too_close_to_call,
        "cautions": list(plans.cautions),
        "what_if": what_if_document(plans.better if told is None else plans.changes),
    }
    return document if told is None else {**document, "explained": told.document}


def _ranked_document(one: ClusterPlan) -> dict[str, Any]:
    return ranked_document(one) | {"host_bytes": one.found.host_bytes, "bill": bill_document(one.bill)}


def bill_document(bill: Bill) -> dict[str, Any]:
    """For JSON: money in the job's currency, energy in joules."""
    return {
        "step_money": bill.step_money,
        "step_joules": bill.step_joules,
        "steps": bill.steps,
        "run_seconds": bill.run_seconds,
        "run_money": bill.run_money,
        "run_joules": bill.run_joules,
        "device_flops_per_second": bill.device_flops,
        "model_flops_utilisation": bill.utilisation,
    }


# ---- for people -----------------------------------------------------------------------------------------------------


def cluster_lines(plans: ClusterPlans, top: int | None, told: Explanation | None = None) -> Iterator[Line]:
    """What a person wants to know: the machines, the ranked plans, the best one in words, its bill, and what would
    change the answer; or what is `told` of one plan, and of these."""
    from plait.layers.parameters import parameters
    from plait.plans.describe import describe

    for task in plans.tasks:
        one = task.machines
        links = f"{one.inside.name} inside, " if one.devices_per_node > 1 else ""
        links += f"{one.between.name} between" if len(plans.tasks) > 1 or one.nodes > 1 else "one host"
        yield [("dim", f"{one.ranks} × {one.device.name} in {one.nodes} × {one.devices_per_node}: {links}")]
    left = f", {plans.unpriced} left out by their bounds" if plans.unpriced else ""
    unfit = f", {plans.unfit} of the others too large for the memory" if plans.unfit else ""
    searched = f"{plans.considered} plans considered, {plans.legal} legal{left}{unfit}"
    yield [("dim", f"{searched}, in {Seconds(plans.search_seconds)}")]
    yield [("dim", model_size(parameters(plans.job.model)))]
    yield []
    yield from ranked_lines(plans.plans, top)
    yield []
    yield from ([("bold", line)] for line in describe(plans.best.plan).splitlines())
    yield [("", _terms(plans.best.found))]
    yield [("", memory_line(plans.best.found))]
    yield from ([("", line)] for line in bill_lines(plans.best.bill, plans.job.training))
    if plans.objective != "time":
        least = f"the least {plans.objective} is the least time"
        yield [("", f"Devices are paid for and switched on while they wait: {least}.")]
    if plans.too_close_to_call:
        yield [("yellow", "too close to call: the second takes no more than 5% longer, as much as equal runs differ")]
    yield from ([("yellow", caution)] for caution in plans.cautions)
    if told is not None:
        yield from told.lines()
        return
    yield from what_if_lines(plans.best.found.seconds, plans.better)


def _terms(one: Played) -> str:
    terms = one.terms
    parts = [("compute", terms.compute), ("bubble", terms.bubble), ("optimizer", terms.optimizer)]
    parts += [(f"exposed {axis}", seconds) for axis, seconds in terms.exposed.items()]
    told = ", ".join(f"{name} {Seconds(seconds)}" for name, seconds in parts if seconds > 1e-4 * one.seconds)
    return f"A step takes {Seconds(one.seconds)}: {told}."


def memory_line(one: Played) -> str:
    """What the rank that is nearest to its limit holds, and how likely it is that there is no room for it."""
    held = one.memory[one.fullest]
    parts = {**held.kinds, "allocator, drivers and libraries": held.taken - sum(held.kinds.values())}
    kinds = ", ".join(f"{name} {Bytes(round(size))}" for name, size in parts.items() if size)
    rank = f"The fullest rank needs {Bytes(held.taken)}"
    if held.taken < max(other.taken for other in one.memory):  # of unequal machines
        rank = f"The rank that is nearest to its limit needs {Bytes(held.taken)}"
    return f"{rank}: {kinds}; it runs out with a probability of {held.risk:.1%}."


def bill_lines(bill: Bill, training: TrainingSpec) -> Iterator[str]:
    """What all steps take and cost, and how well devices are used."""
    tokens = training.global_batch * training.sequence_length
    yield (
        f"{bill.steps} steps of {tokens:,} tokens take {Seconds(bill.run_seconds)}: "
        f"{tokens / bill.step_seconds:,.0f} tokens a second, {bill.device_flops / 1e12:,.0f} TFLOP/s a device, "
        f"MFU {bill.utilisation:.1%}."
    )
    told: list[str] = []
    if bill.step_money is not None and bill.run_money is not None:
        told.append(f"a step costs {bill.step_money:,.4g}, the run {bill.run_money:,.2f}")
    if bill.step_joules is not None and bill.run_joules is not None:
        told.append(f"at full power the run takes {bill.run_joules / _KWH:,.4g} kWh")
    if told:
        yield f"{'; '.join(told)[0].upper()}{'; '.join(told)[1:]}."
