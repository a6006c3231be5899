"""Who holds what: the ranks of a plan as a grid, stages from left to right, replicas downward, tensor shares inside.

              stage 0                    stage 1
              [embedding][0][1][2][3]    [4][5][6][head]
    replica 0 [  rank 0  |  rank 1  ]════[rank 4 |rank 5]
    replica 1 [  rank 2  |  rank 3  ]════[rank 6 |rank 7]

It knows a plan's degrees, and that embedding and head stand at the pipeline's ends.
"""

from __future__ import annotations

from collections.abc import Iterator

from plait.plans.plan import Plan
from plait.report.legend import legend
from plait.report.markup import Markup, element, fragment
from plait.report.svg import line, picture, rectangle, words

__all__ = ["mesh", "stage_contents"]

_WIDTH, _LEFT, _TOP, _PITCH, _CELL, _GAP = 1060.0, 92.0, 66.0, 54.0, 40.0, 46.0
_END = 2.4  # layers that the embedding, or the head, is drawn as wide as
_MOST_STAGES, _MOST_REPLICAS, _MOST_TENSOR = 16, 8, 16  # drawn
_LETTER = 7.5  # pixels of a digit in a slat, at most


def stage_contents(plan: Plan, place: int) -> str:
    """What a rank of the pipeline holds, in words: "embedding, 4 layers"; of several stages "2 + 1 layers"."""
    own = plan.stages_at(place)
    layers = f"{' + '.join(str(plan.stages[stage]) for stage in own)} layer"
    layers += "" if [plan.stages[stage] for stage in own] == [1] else "s"
    before = ["embedding"] if 0 in own else []
    after = ["head"] if len(plan.stages) - 1 in own else []
    return ", ".join([*before, layers, *after])


def mesh(plan: Plan) -> Markup:
    """The picture and its legend; a mesh too large for it is cut off at the right and below, and that is said."""
    stages, replicas = min(plan.pipeline, _MOST_STAGES), min(plan.data, _MOST_REPLICAS)
    width = (_WIDTH - 14 - _LEFT - _GAP * (stages - 1)) / stages
    drawn = [fragment(*_stage(plan, stage, replicas, _LEFT + stage * (width + _GAP), width)) for stage in range(stages)]
    if plan.data > 1:
        drawn += [_replica(place) for place in range(replicas)]
    label = f"{plan.ranks} ranks: {plan.pipeline} stages, {plan.data} replicas, {plan.tensor} tensor ranks"
    height = _TOP + replicas * _PITCH - (_PITCH - _CELL) + 6
    cut = stages < plan.pipeline or replicas < plan.data or plan.tensor > _MOST_TENSOR
    note = f"Of {label}, the first are drawn." if cut else ""
    return fragment(picture(_WIDTH, height, label, *drawn, class_="mesh"), _legend(plan, note))


def _stage(plan: Plan, stage: int, replicas: int, left: float, width: float) -> Iterator[Markup]:
    contents = stage_contents(plan, stage)
    yield words((left, 16), f"stage {stage}" if width > 50 else str(stage), class_="value")
    if width > 7 * len(contents) + 60:
        yield words((left + width, 16), contents, anchor="end", class_="name")
    yield from _layers(plan, stage, left, width)
    for replica in range(replicas):
        top = _TOP + replica * _PITCH
        yield from _ranks(plan, stage, replica, left, top, width)
        if stage + 1 < min(plan.pipeline, _MOST_STAGES):
            yield _arrow(left + width + 6, left + width + _GAP - 6, top + _CELL / 2)


def _layers(plan: Plan, stage: int, left: float, width: float) -> Iterator[Markup]:
    """The stage's part of the model: a slat a layer, wider ones for embedding and head; where numbers don't fit in
    slats, one for all layers of a stage, with the first's and the last's."""
    own = plan.stages_at(stage)
    first, last = 0 in own, len(plan.stages) - 1 in own
    names = [str(sum(plan.stages[:one]) + layer) for one in own for layer in range(plan.stages[one])]
    unit = width / (len(names) + _END * (first + last))
    fit = all(_fits(name, unit) for name in names)
    inner = [(name, f"layer {name}", 1.0) for name in names]
    if not fit and len(own) == 1 and len(names) > 1:
        inner = [(named := f"{names[0]}–{names[-1]}", f"layers {named}", float(len(names)))]
    ends = [[(end, end, _END)] if there else [] for end, there in (("embedding", first), ("head", last))]
    x = left
    for name, tip, wide in (*ends[0], *inner, *ends[1]):
        inset = min(2.0, unit * wide / 4)
        yield rectangle(x, 26, unit * wide - inset, 24, rx=min(3.0, unit / 4), class_="slat", data_tip=tip)
        if _fits(name, unit * wide) and (fit or name not in names):
            yield words((x + (unit * wide - inset) / 2, 42), name, anchor="middle", class_="tick")
        x += unit * wide


def _fits(name: str, width: float) -> bool:
    return width > _LETTER * len(name) + 4


def _ranks(plan: Plan, stage: int, replica: int, left: float, top: float, width: float) -> Iterator[Markup]:
    """One group of tensor ranks, each as wide as its share."""
    count = min(plan.tensor, _MOST_TENSOR)
    weights = plan.tensor_shares if len(plan.tensor_shares) == plan.tensor else (1.0,) * plan.tensor
    total = sum(weights[:count])
    x = left
    for tensor in range(count):
        own = width * weights[tensor] / total
        rank = plan.mesh.rank_at(pipeline=stage, data=replica, tensor=tensor)
        tip = f"rank {rank}: stage {stage}, replica {replica}, tensor rank {tensor}\n{stage_contents(plan, stage)}"
        inset = 2.0 if count > 1 else 0.0
        yield rectangle(x + inset / 2, top, own - inset, _CELL, rx=6, class_="rank", data_tip=tip)
        name = f"rank {rank}" if own > 60 else str(rank)
        yield words((x + own / 2, top + _CELL / 2 + 4.5), name, anchor="middle", class_="value")
        x += own
    if count > 1:
        yield line((left + 4, top + _CELL + 4), (left + width - 4, top + _CELL + 4), class_="tie tensor")


def _arrow(start: float, end: float, y: float) -> Markup:
    there = line((start, y - 4), (end, y - 4), class_="tie pipeline")
    back = line((start, y + 4), (end, y + 4), class_="tie pipeline back")
    return fragment(there, back)


def _replica(place: int) -> Markup:
    middle = _TOP + place * _PITCH + _CELL / 2
    name = words((_LEFT - 24, middle + 4), f"replica {place}", anchor="end", class_="name")
    if place == 0:
        return name
    return fragment(name, line((_LEFT - 12, middle - _PITCH), (_LEFT - 12, middle), class_="tie data"))


def _legend(plan: Plan, note: str) -> Markup:
    ties = [
        ("pipeline", "activations and their gradients between stages", plan.pipeline),
        ("data", "gradients summed over replicas", plan.data),
        ("tensor", "one layer shared by tensor ranks", plan.tensor),
    ]
    entries = [(axis, name, "") for axis, name, degree in ties if degree > 1]
    return legend(entries, note) if entries or note else element("p", "One rank holds everything.", class_="note")
