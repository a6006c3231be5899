"""A timeline to look at: as lines of text, and as a trace for viewers.

    rank 0 F0─F1─F2─·············I0════W0┄┄┄┄I1════        forwards ─, backwards ═, gradients of weights alone ┄
    rank 1 ~~~F0─I0════W0┄┄┄┄~~~~                          transfers ~, waiting ·

Where a rank has several stages an action's name has its stage; where there is no room for the name, only its kind
stands. Ranks that do the same share a line, `ranks 2–3`. It knows actions and seconds.
"""

from __future__ import annotations

from collections import defaultdict

from plait.schedules.action import COMPUTE, RECEIVES, SENDS, Kind
from plait.schedules.timeline import Timed, Timeline
from plait.specs.wording import ranks_named

__all__ = ["chrome_trace", "draw"]

_FILL = {Kind.F: "─", Kind.B: "═", Kind.I: "═", Kind.W: "┄"}  # of transfers: ~
_TRANSFERS = tuple(kind for kind in Kind if kind in SENDS | RECEIVES)


def draw(timeline: Timeline, width: int = 120, each: int = 1) -> str:
    """One line of at most `width` characters a place along the pipeline, at which `each` ranks do the same."""
    names = [ranks_named(place * each, each) for place in range(len(timeline.ranks))]
    margin = max(map(len, names), default=0) + 1
    columns = max(1, width - margin)
    scale = columns / (timeline.step_seconds or 1.0)
    return "\n".join(f"{n:<{margin}}{_line(t, scale, columns)}" for n, t in zip(names, timeline.ranks, strict=True))


def _line(timed: tuple[Timed, ...], scale: float, columns: int) -> str:
    line = ["·"] * columns
    several = len({action.stage for action, _, _ in timed}) > 1  # then the stage is part of the name
    in_front = sorted(timed, key=lambda one: one.action.kind in COMPUTE)  # computations, over transfers
    for action, start, end in in_front:
        left, right = round(start * scale), round(end * scale)
        compute = action.kind in COMPUTE
        name = (str(action) if several else f"{action.kind}{action.microbatch}") if compute else ""
        if len(name) > right - left:
            name = str(action.kind)[: right - left]  # F13 cut to F1 would be another microbatch's
        line[left:right] = name.ljust(right - left, _FILL.get(action.kind, "~"))
    return "".join(line)


def chrome_trace(timeline: Timeline, each: int = 1) -> dict[str, object]:
    """The timeline as Chrome trace events (Perfetto reads them), in microseconds: a process for `each` so many ranks
    that do the same, numbered by the first. Its threads are what it computes, and one for each kind of transfer; more
    of a kind where several of them go on at once."""
    events: list[dict[str, object]] = []
    for place, timed in enumerate(timeline.ranks):
        rank = place * each
        events.append({"ph": "M", "name": "process_name", "pid": rank, "args": {"name": ranks_named(rank, each)}})
        lanes = _lanes(timed)
        for thread, (name, spans) in enumerate(lanes):
            events.append({"ph": "M", "name": "thread_name", "pid": rank, "tid": thread, "args": {"name": name}})
            for action, start, end in spans:
                times = {"ts": start * 1e6, "dur": (end - start) * 1e6}
                where = {"stage": action.stage, "microbatch": action.microbatch, "kind": str(action.kind)}
                events.append(
                    {"ph": "X", "name": str(action), "cat": name, "pid": rank, "tid": thread, **times, "args": where}
                )
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _lanes(timed: tuple[Timed, ...]) -> list[tuple[str, list[Timed]]]:
    """No span of a lane begins before the one before it has ended: viewers would take it for a part of that."""
    kinds: dict[str, list[list[Timed]]] = defaultdict(lambda: [[]])
    for one in sorted(timed, key=lambda one: (one.start, one.end)):
        lanes = kinds["compute" if one.action.kind in COMPUTE else str(one.action.kind)]
        free = next((lane for lane in lanes if not lane or lane[-1].end <= one.start), None)
        if free is None:
            lanes.append(free := [])
        free.append(one)
    return [(name, lane) for name in ("compute", *map(str, _TRANSFERS)) for lane in kinds[name]]
