"""gloo's interface: the one that leads to the store, or the one that was asked for, if it exists."""

from __future__ import annotations

import os
import sys

import pytest

from plait.errors import UnusableInput
from plait.launchers.interfaces import VARIABLE, choose_interface


@pytest.mark.skipif(sys.platform != "linux", reason="how an interface's address is asked for is Linux's own")
def test_it_leads_to_the_store(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr("os.environ", known := {})
        choose_interface("127.0.0.1", 29400)
    assert known == {VARIABLE: "lo"}


def test_one_that_exists_is_kept(monkeypatch):
    import socket

    name = socket.if_nameindex()[0][1]
    monkeypatch.setenv(VARIABLE, name)
    choose_interface("127.0.0.1", 29400)
    assert os.environ[VARIABLE] == name


def test_one_that_does_not_is_refused_with_those_that_do(monkeypatch):
    monkeypatch.setenv(VARIABLE, "nosuch0")
    with pytest.raises(UnusableInput, match=r"no interface nosuch0; there are .*lo"):
        choose_interface("127.0.0.1", 29400)
