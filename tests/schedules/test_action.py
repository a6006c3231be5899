"""Actions print as the contract says, read back, and know their other end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import UnusableInput
from plait.schedules.action import COMPUTE, SENDS, Action, Kind, step_text

actions = st.builds(Action, st.integers(0, 10**6), st.sampled_from(Kind), st.integers(0, 10**6))


def test_an_action_prints_as_the_contract_says():
    assert str(Action(2, Kind.F, 0)) == "2F0"
    assert f"{Action(2, Kind.SEND_F, 10)}" == "2SEND_F10"
    assert step_text((Action(2, Kind.SEND_F, 1), Action(2, Kind.RECV_B, 0))) == "2SEND_F1+2RECV_B0"


@settings(deadline=None)
@given(actions)
def test_what_is_printed_reads_back(action):
    assert Action.parse(str(action)) == action
    assert isinstance(Action.parse(str(action)).kind, Kind)


@pytest.mark.parametrize("text", ["", "2F", "F0", "2X0", "2f0", "-1F0", "02F0", "2F0 ", "2SEND_0", "2SEND_W0", "٢F0"])
def test_what_is_no_action_is_refused_with_the_kinds(text):
    with pytest.raises(UnusableInput, match=r"is no action.*as 2F0; kinds: F, I, W, B, SEND_F, RECV_F, SEND_B, RECV_B"):
        Action.parse(text)


@pytest.mark.parametrize(
    ("action", "counterpart"),
    [("2SEND_F5", "3RECV_F5"), ("2SEND_B5", "1RECV_B5"), ("2RECV_F5", "1SEND_F5"), ("2RECV_B5", "3SEND_B5")],
)
def test_activations_go_to_the_next_stage_and_gradients_to_the_one_before(action, counterpart):
    assert Action.parse(action).counterpart == Action.parse(counterpart)
    assert Action.parse(action).peer == Action.parse(counterpart).stage


@settings(deadline=None)
@given(actions)
def test_a_transfer_has_one_send_and_one_receive_and_a_computation_only_itself(action):
    other = action.counterpart
    assert other.counterpart == action
    assert (other == action) == (action.kind in COMPUTE)
    if action.kind not in COMPUTE:
        assert (action.kind in SENDS) != (other.kind in SENDS)
