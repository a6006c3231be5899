"""Bug or rounding? The rules, on made-up measurements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.verification.trace import EPSILON
from plait.verification.verdict import MIDDLE, VERDICTS, Measured, is_zero, judge, scale, worst

EPS64, EPS32 = EPSILON["fp64"], EPSILON["fp32"]


def measured(error: float, magnitude: float = 1.0, **more) -> Measured:
    return Measured(magnitude=magnitude, error=error, **more)


def verdicts(fp64: Measured, fp32: Measured, rounding: float = 0.0) -> tuple[str, str]:
    found = judge(fp64, fp32, rounding)
    return found["fp64"], found["fp32"]


@given(st.floats(0.1, 1000), st.floats(1e-6, 1e6))
def test_what_shrinks_with_the_precision_is_rounding(units, magnitude):
    found = verdicts(measured(units * EPS64 * magnitude, magnitude), measured(units * EPS32 * magnitude, magnitude))
    assert found == ("REASSOCIATION", "REASSOCIATION")


@given(st.floats(1e-11, 1e3), st.floats(1e-6, 1e6))
def test_what_does_not_shrink_is_a_bug_however_small(relative, magnitude):
    error = relative * magnitude
    assert verdicts(measured(error, magnitude), measured(error + EPS32 * magnitude, magnitude)) == ("BUG", "BUG")


def test_equal_bits_are_exact_in_each_precision_for_itself():
    assert verdicts(measured(0), measured(0)) == ("EXACT", "EXACT")
    assert verdicts(measured(3 * EPS64), measured(0)) == ("REASSOCIATION", "EXACT")
    assert verdicts(measured(0.1), measured(0)) == ("BUG", "EXACT")


def test_where_float32_happens_to_agree_its_epsilon_stands_for_its_noise():
    assert verdicts(measured(0.9 * MIDDLE * EPS32), measured(0))[0] == "REASSOCIATION"
    assert verdicts(measured(1.1 * MIDDLE * EPS32), measured(0))[0] == "BUG"


def test_what_reordering_does_is_rounding_however_large():
    assert verdicts(measured(0.1, spread=0.2), measured(0.1))[0] == "REASSOCIATION"
    assert verdicts(measured(0.3, spread=0.2), measured(0.3))[0] == "BUG"


def test_the_middle_lies_between_the_spread_and_the_noise():
    assert verdicts(measured(0.9e-4, spread=1e-6), measured(0.0), rounding=1e-2)[0] == "REASSOCIATION"
    assert verdicts(measured(1.1e-4, spread=1e-6), measured(0.0), rounding=1e-2)[0] == "BUG"


def test_where_the_reference_overflows_in_float32_it_is_no_witness():
    lost = Measured(magnitude=float("nan"), error=0.0, finite=False)
    assert verdicts(measured(1e200, 1e200), lost, rounding=float("inf")) == ("REASSOCIATION", "NONFINITE")


def test_the_reference_s_own_rounding_is_noise_too():
    """Adam divides by next to nothing: one float32 run may hit what another misses."""
    assert verdicts(measured(1e-9), measured(EPS32))[0] == "BUG"
    assert verdicts(measured(1e-9), measured(EPS32), rounding=1e-3)[0] == "REASSOCIATION"


def test_the_parallel_run_has_no_say_in_what_is_noise():
    """Each precision cast to the next narrower one on the way: the error shrinks, and is wrong all the same."""
    assert verdicts(measured(2.0**-25), measured(2.0**-9)) == ("BUG", "BUG")


def test_float32_is_judged_by_itself_too():
    assert verdicts(measured(0.0), measured(2.0**-9)) == ("EXACT", "BUG")
    assert verdicts(measured(0.0), measured(2.0**-13)) == ("EXACT", "REASSOCIATION")
    assert verdicts(measured(0.0), measured(2.0**-9, spread=2.0**-12))[1] == "REASSOCIATION"


def test_where_noise_is_nearly_all_that_there_is_float64_decides():
    assert verdicts(measured(0.0), measured(0.5), rounding=2.0**-14)[1] == "REASSOCIATION"


def test_what_can_not_be_had_in_float64_is_held_to_float32_s_noise():
    one, other = measured(1e-7, pinned=True), measured(1e-7)
    assert verdicts(one, other, rounding=2e-7) == ("PINNED", "PINNED")
    assert verdicts(measured(1e-4, pinned=True), other, rounding=2e-7)[0] == "BUG"


def test_a_model_that_branches_on_its_data_can_not_be_judged_where_it_departs():
    assert verdicts(measured(1e-3, branching=True), measured(1e-3))[0] == "NONDETERMINISTIC"
    assert verdicts(measured(3 * EPS64, branching=True), measured(EPS32))[0] == "REASSOCIATION"


def test_what_shrinks_itself_is_zero():
    noise64, noise32 = measured(2e-18, 1e-18), measured(2e-9, 1e-9)
    assert is_zero(noise64, noise32)
    assert verdicts(noise64, noise32, rounding=1e-9) == ("ZERO", "ZERO")
    assert scale(noise64, noise32) == pytest.approx(max(1e-18 / EPS64, 1e-9 / EPS32))


def test_a_zero_that_is_none_in_the_parallel_run_is_a_bug():
    assert verdicts(measured(1e-3, 1e-18), measured(1e-3, 1e-9), rounding=1e-9) == ("BUG", "BUG")


def test_what_can_not_be_judged_says_so():
    assert verdicts(measured(1, finite=False), measured(1, finite=False)) == ("NONFINITE", "NONFINITE")
    assert verdicts(measured(0, chance=1e-16), measured(0))[0] == "NONDETERMINISTIC"
    assert verdicts(measured(1, chance=1.0), measured(1, chance=1.0)) == ("NONDETERMINISTIC", "NONDETERMINISTIC")
    assert verdicts(measured(1, chance=1e-16), measured(1))[0] == "BUG"
    assert verdicts(measured(0, missing=True), measured(0))[0] == "BUG"
    assert verdicts(measured(0, parted=1e-16), measured(0))[0] == "BUG"
    assert verdicts(measured(0, parted=1e-16, chance=1e-16), measured(0))[0] == "NONDETERMINISTIC"
    assert verdicts(measured(1e-3), measured(float("inf"), finite=False)) == ("BUG", "NONFINITE")


def test_errors_are_relative_to_the_largest_element_that_there_is():
    assert scale(measured(0, 4.0), measured(0, 4.0)) == 4.0
    assert scale(measured(0, 0.0), measured(0, 0.0)) == 1.0


def test_the_worst_verdict_is_the_run_s():
    assert worst([]) == "EXACT"
    assert worst(["REASSOCIATION", "EXACT"]) == "REASSOCIATION"
    assert worst(["NONFINITE", "ZERO", "NONDETERMINISTIC"]) == "NONFINITE"
    assert worst(VERDICTS) == "BUG"
