"""What a run shows while it runs: lines now and then where there is no terminal, one bar where there is."""

from __future__ import annotations

import io
from math import nan

import pytest

from plait.cli.progress import TrainingProgress


def step(number, steps=100, loss=3.0):
    return {
        "event": "step", "step": number, "steps": steps, "loss": loss, "tokens": 500, "seconds": 0.25,
        "predicted_seconds": 0.2, "period": 1,
    }  # fmt: skip


VALIDATION = {"event": "validation", "step": 50, "loss": 3.25}


def told(capsys, *events):
    with TrainingProgress() as progress:
        for event in events:
            progress.take(event)
    captured = capsys.readouterr()
    assert captured.out == "", "stdout is the answer's"
    return captured.err.splitlines()


def test_a_line_now_and_then(capsys):
    lines = told(capsys, *map(step, range(1, 101)))
    assert len(lines) == 20
    assert lines[0] == "step 5/100  loss 3.000  2,000 tokens/s  step 250 ms (predicted 200 ms)"


def test_every_step_of_a_short_run(capsys):
    assert len(told(capsys, step(1, 3), step(2, 3), step(3, 3))) == 3


def test_a_validation_is_said_and_kept(capsys):
    lines = told(capsys, VALIDATION, step(55))
    assert lines[0] == "after step 50: held-out loss 3.2500 nats a token"
    assert "held out 3.250" in lines[1]


def test_a_loss_that_is_no_number(capsys):
    assert "loss nan" in told(capsys, VALIDATION | {"loss": nan}, step(5, loss=nan))[1]


def test_the_pace_is_that_of_the_last_steps(capsys):
    slow, fast = step(1, 30) | {"seconds": 9.0}, [step(number, 30) for number in range(2, 31)]
    assert "step 250 ms" in told(capsys, slow, *fast)[-1]


def test_a_step_has_its_part_of_a_meeting(capsys):
    events = [step(number, 96) | {"period": 32, "seconds": 3.3 if number % 32 == 0 else 0.1} for number in range(1, 97)]
    assert "step 200 ms" in told(capsys, *events)[-1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_that_can_t_move_its_cursor_gets_lines(monkeypatch):
    assert "after step 50" in drawn(monkeypatch, "dumb", 140)


@pytest.mark.parametrize("columns", [140, 90])
def test_one_bar_on_a_terminal(monkeypatch, columns):
    shown = drawn(monkeypatch, "xterm", columns)
    assert "100/100" in shown
    assert "(predicted 200 ms)" in shown
    assert ("━" in shown) == (columns == 140)
    assert "after step" not in shown


def drawn(monkeypatch, term, columns):
    """What a terminal shows in the end, with all that it showed before."""
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", str(columns))
    with TrainingProgress() as progress:
        for event in (VALIDATION, step(50), step(100)):
            progress.take(event)
    return screen.getvalue()
