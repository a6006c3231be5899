"""What is told of a machine that differs in one thing, whoever searched it."""

from __future__ import annotations

from dataclasses import replace

from plait.planner.what_if import WhatIf, what_if
from plait.plans.plan import Plan

NOW = Plan(data=2, data_shares=(1, 1), stages=(4,))
OTHER = replace(NOW, zero=1)
BEST = {"faster": (NOW, 0.5), "with other buckets": (replace(NOW, bucket_bytes=1), 0.9), "slower": (OTHER, 2.0)}


def test_each_change_has_its_best_plan_and_whether_it_is_another():
    assert what_if(NOW, {name: name for name in (*BEST, "too small")}, BEST.get) == (
        WhatIf(change="faster", plan=NOW, step_seconds=0.5, changes=False),
        WhatIf(change="with other buckets", plan=replace(NOW, bucket_bytes=1), step_seconds=0.9, changes=False),
        WhatIf(change="slower", plan=OTHER, step_seconds=2.0, changes=True),
        WhatIf(change="too small", plan=None, step_seconds=None, changes=True),
    )
