"""Planting: what stands where while a defect is planted, here and on ranks, and that all is put back."""

from __future__ import annotations

import pytest

import plait
from plait.defects import DEFECTS, Defect, plant

TARGET = "plait.plans.describe:describe"


class Louder(Defect):
    """A test's own: it doubles what a function returns, in its step."""

    name, issue, axes = "louder", "own", ("data", "tensor")
    wraps = "tests.defects.test_plant:Voice.speak"

    def instead(self, speak, *args):
        return speak(*args) * (2 if self.strikes() else 1)


class LouderProperty(Louder):
    """The same of a property."""

    name = "louder-property"
    wraps = "tests.defects.test_plant:Voice.word"


class LouderTwice(Louder):
    """In two places at once."""

    name = "louder-twice"
    wraps = ("tests.defects.test_plant:Voice.speak", "tests.defects.test_plant:Voice.whisper")


class Voice:
    """Something to wrap."""

    def whisper(self) -> str:
        return "c"

    def speak(self, times: int) -> str:
        return "a" * times

    @property
    def word(self) -> str:
        return "b"


def spoken() -> tuple[str, str]:
    return Voice().speak(2), Voice().word


def test_it_stands_in_the_function_s_place_and_is_gone_afterwards():
    before = Voice.__dict__["speak"]
    with plant("louder"):
        assert spoken() == ("aaaa", "b")
    assert Voice.__dict__["speak"] is before
    with plant(LouderProperty):
        assert spoken() == ("aa", "bb")
    assert spoken() == ("aa", "b")


def test_it_may_stand_in_several_places():
    with plant(LouderTwice):
        assert (spoken(), Voice().whisper()) == (("aaaa", "b"), "cc")
    assert (spoken(), Voice().whisper()) == (("aa", "b"), "c")


def test_it_is_put_back_when_the_block_raises():
    with pytest.raises(KeyError), plant("louder"):
        raise KeyError
    assert spoken() == ("aa", "b")


def test_it_reaches_the_ranks(run_on_ranks):
    with plant("louder"):
        assert run_on_ranks(2, spoken) == [("aaaa", "b")] * 2
    assert run_on_ranks(2, spoken) == [("aa", "b")] * 2


def test_it_strikes_in_its_step_alone():
    with plant("louder", step=2):
        assert spoken()[0] == "aa"  # no step has begun


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="norm-gradient-partial"), plant("norm-gradient-parial"):
        pass


@pytest.mark.parametrize("where", [{"layer": "block 0"}, {"step": 2}])
def test_what_it_can_not_obey_is_refused(where):
    with pytest.raises(ValueError, match="alone"), plant("norm-counts-replicas", **where):
        pass


@pytest.mark.parametrize("where", [{"step": 0}, {"step": True}, {"step": 1.5}, {"layer": ""}, {"layer": 3}])
def test_what_names_no_step_and_no_layer_is_refused(where):
    with pytest.raises(ValueError, match=r"steps count from 1|a layer is named"), plant("bucket-not-reduced", **where):
        pass


@pytest.mark.parametrize("what", [None, 5, int])
def test_what_is_no_defect_is_refused(what):
    with pytest.raises(TypeError, match="is neither"), plant(what):
        pass


def test_an_axis_that_it_can_not_be_planted_along_is_refused():
    with pytest.raises(ValueError, match="legal here: data, tensor"), plant("louder", axis="pipeline"):
        pass


def test_it_is_reached_from_the_package():
    assert plait.defects.plant is plant
    assert DEFECTS["louder"] is Louder
