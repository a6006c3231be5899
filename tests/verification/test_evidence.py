"""Two sides in two precisions become rows: one for each tensor, step and precision, with what was found of it."""

from __future__ import annotations

import numpy as np
import pytest

from plait.sharding.mesh_shape import MeshShape
from plait.verification.evidence import Evidence, References, Row, rows
from plait.verification.trace import EPSILON, PRECISIONS, Entry, RankTrace, Trace

FIRST, SECOND = Entry(1, "gradient", "w"), Entry(2, "gradient", "w")
VALUES = np.random.default_rng(0).normal(size=50)
DTYPES = {"fp64": np.float64, "fp32": np.float32}


def trace(precision, **changes: float) -> Trace:
    """Both steps' gradient, with `first` and `second` added to one element of theirs."""
    found: Trace = {}
    for entry, name in ((FIRST, "first"), (SECOND, "second")):
        array = VALUES.astype(DTYPES[precision])
        array[7] += changes.get(name, 0.0)
        found[entry] = array
    return found


def ranks(*traces: Trace) -> list[RankTrace]:
    return [RankTrace(tensors=one, intervals={"w": (((0, 50),),)}) for one in traces]


def judged(make, **more) -> dict[tuple[int, str], Row]:
    """The rows of one rank that holds `make(precision)`, by step and precision."""
    references = {p: References(plain=trace(p), **more.pop("references", {})) for p in PRECISIONS}
    evidence = {p: Evidence(mesh=MeshShape(), judged=ranks(make(p)), **more) for p in PRECISIONS}
    return {(row.step, row.precision): row for row in rows(references, evidence)}


def verdicts(found) -> set[str]:
    return {row.verdict for row in found.values()}


def test_equal_sides_are_exact():
    found = judged(trace)
    assert verdicts(found) == {"EXACT"}
    assert {row.error for row in found.values()} == {0.0}
    assert len(found) == 4


def test_rounding_is_counted_in_epsilons():
    found = judged(lambda p: trace(p, first=4 * EPSILON[p]))
    row = found[1, "fp64"]
    assert (row.name, row.kind, row.verdict) == ("w", "gradient", "REASSOCIATION")
    assert row.error == pytest.approx(row.error_eps * EPSILON["fp64"])
    assert 0.5 < row.error_eps < 8
    assert found[2, "fp64"].verdict == "EXACT"


def test_a_small_mistake_is_a_bug_in_the_step_where_it_is():
    found = judged(lambda p: trace(p, second=1e-6))
    assert {key for key, row in found.items() if row.verdict == "BUG"} == {(2, "fp64"), (2, "fp32")}


def test_what_only_one_side_has_is_wrong_by_its_whole_self():
    found = judged(lambda p: {FIRST: trace(p)[FIRST], Entry(1, "gradient", "stray"): np.ones(3)})
    assert found[2, "fp64"].verdict == "BUG"
    assert found[2, "fp64"].error == 1.0
    assert any(row.name == "stray" and row.verdict == "BUG" for row in found.values())


def test_a_branch_excuses_what_comes_after_it_alone():
    before, after = Entry(1, "value", "block 0"), Entry(1, "value", "block 1/gradient")

    def both(precision, **changes) -> Trace:
        return {before: trace(precision, **changes)[FIRST], Entry(1, "value", "block 1"): VALUES, **trace(precision)}

    def found(make, told=0.0) -> dict[str, str]:
        looks = {("block 1", 0): [1.0]}
        references = {p: References(plain={**both(p), after: VALUES}, looks=looks) for p in PRECISIONS}
        one = {
            p: RankTrace(tensors={**make(p), after: VALUES + 1e-3}, intervals={}, looks={("block 1", 0): [told]})
            for p in PRECISIONS
        }
        evidence = {p: Evidence(mesh=MeshShape(), judged=[one[p]]) for p in PRECISIONS}
        return {row.name: row.verdict for row in rows(references, evidence) if row.precision == "fp64"}

    assert found(both)[after.name] == "NONDETERMINISTIC"
    assert found(both, told=1.0)[after.name] == "BUG"  # both sides went the same way
    assert found(lambda p: both(p, first=1e-3))[before.name] == "BUG"


@pytest.mark.parametrize(
    ("chance", "error", "verdict"),
    [(1e-15, 0.1, "BUG"), (1e-15, 1e-9, "NONDETERMINISTIC"), (0.1, 0.5, "NONDETERMINISTIC")],
)
def test_chance_excuses_what_it_may_have_done_and_only_what_comes_after_it(chance, error, verdict):
    """An atomic sum that differs in the last bit does not excuse a gradient that is a tenth off."""
    references = {p: References(plain=trace(p), repeated=(trace(p, second=chance),)) for p in PRECISIONS}
    evidence = {p: Evidence(mesh=MeshShape(), judged=ranks(trace(p, first=error, second=error))) for p in PRECISIONS}
    found = {(row.step, row.precision): row.verdict for row in rows(references, evidence)}
    assert found[1, "fp64"] == "BUG"
    assert found[2, "fp64"] == verdict


def test_nan_on_the_parallel_side_alone_denies():
    found = judged(lambda p: trace(p, second=np.nan))
    assert (found[2, "fp64"].verdict, found[2, "fp64"].denies) == ("NONFINITE", True)
    references = {p: References(plain=trace(p, second=np.nan)) for p in PRECISIONS}
    evidence = {p: Evidence(mesh=MeshShape(), judged=ranks(trace(p, second=np.nan))) for p in PRECISIONS}
    assert not any(row.denies for row in rows(references, evidence))


def test_copies_that_differ_are_a_bug_with_its_axis():
    references = {p: References(plain=trace(p)) for p in PRECISIONS}
    evidence = {
        p: Evidence(mesh=MeshShape(data=2), judged=ranks(trace(p), trace(p, second=EPSILON[p]))) for p in PRECISIONS
    }
    found = {(row.step, row.precision): row for row in rows(references, evidence)}
    assert found[2, "fp64"].verdict == "BUG"
    assert found[2, "fp64"].axes == ("data",)
    assert found[1, "fp64"].axes == ()


def test_unequal_runs_of_the_reference_prove_nothing():
    references = {p: References(plain=trace(p), repeated=(trace(p, first=1e-3),)) for p in PRECISIONS}
    evidence = {p: Evidence(mesh=MeshShape(), judged=ranks(trace(p, second=1.0))) for p in PRECISIONS}
    assert {row.verdict for row in rows(references, evidence)} == {"NONDETERMINISTIC"}


def test_a_first_step_that_is_not_repeated_proves_nothing():
    references = {p: References(plain=trace(p)) for p in PRECISIONS}
    evidence = {
        p: Evidence(mesh=MeshShape(), judged=ranks(trace(p)), free=ranks(trace(p, first=1e-3))) for p in PRECISIONS
    }
    found = {(row.step, row.verdict) for row in rows(references, evidence)}
    assert found == {(1, "NONDETERMINISTIC"), (2, "EXACT")}


def test_a_free_second_step_may_drift():
    references = {p: References(plain=trace(p)) for p in PRECISIONS}
    evidence = {
        p: Evidence(mesh=MeshShape(), judged=ranks(trace(p)), free=ranks(trace(p, second=1e-3))) for p in PRECISIONS
    }
    assert {row.verdict for row in rows(references, evidence)} == {"EXACT"}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_named(bad):
    found = judged(lambda p: trace(p, first=bad))
    assert {key for key, row in found.items() if row.verdict == "NONFINITE"} == {(1, "fp64"), (1, "fp32")}
    assert all(np.isfinite(row.error) and np.isfinite(row.error_eps) for row in found.values())


def test_the_reordered_references_widen_what_is_rounding():
    wide = {p: References(plain=trace(p), reordered=(trace(p, second=2e-6),)) for p in PRECISIONS}
    evidence = {p: Evidence(mesh=MeshShape(), judged=ranks(trace(p, second=1e-6))) for p in PRECISIONS}
    assert {row.verdict for row in rows(wide, evidence)} == {"EXACT", "REASSOCIATION"}
