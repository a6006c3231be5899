"""What a user meets before any model runs starts without torch: `plait check` answers in under a second.

Each case runs in a fresh interpreter and reports which of the heavy libraries it loaded. The cases follow the tree:
every module above the torch line, and the package's door and its commands as soon as their files stand.
"""

from __future__ import annotations

import json
import subprocess
import sys

from tests.house.tree import PACKAGE, dotted, modules, room, rooms_above_the_torch_line

HEAVY = {"torch", "numpy", "transformers", "tensorboard"}
REPORT = "import json, sys; print(json.dumps(sorted(set(sys.modules) & set({heavy}))))"
COMMAND = """
import sys
from plait.cli.main import main
sys.argv = ["plait", *{arguments}]
try:
    code = main()
except SystemExit as end:
    code = end.code
print()
assert not code, f"exit code {{code}}"
"""
JOB = """
[model]
family = "gpt"
layers = 4
hidden = 64
heads = 4
kv_heads = 4
ffn = 256
vocab = 256
positions = "learned"
norm = "layer"
activation = "gelu"
tie_embeddings = true

[data]
text = "python-stdlib"
tokenizer = "bytes"

[training]
steps = 10
global_batch = 8
sequence_length = 32

[cluster]
name = "local"
ranks = 2
"""


def loaded_by(program: str) -> set[str]:
    """The heavy libraries that a fresh interpreter holds after running the program."""
    script = program + "\n" + REPORT.format(heavy=sorted(HEAVY))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def imports_of(rooms: set[str]) -> str:
    return "\n".join(f"import {dotted(path)}" for path in modules() if room(path) in rooms)


def test_the_report_sees_what_is_loaded():
    assert loaded_by("import numpy") == {"numpy"}


def test_rooms_before_the_planner_load_nothing_heavy():
    program = imports_of(rooms_above_the_torch_line(planner=False))
    assert "import plait.errors" in program
    assert loaded_by(program) == set()


def test_the_planner_loads_no_torch():
    assert loaded_by(imports_of(rooms_above_the_torch_line(planner=True))) <= {"numpy"}


def test_the_package_s_door_loads_nothing_heavy():
    names = "plait.load, plait.check" if (PACKAGE / "api.py").exists() else ""
    assert loaded_by(f"import plait\n{names}") == set()


def test_commands_that_answer_at_once_load_nothing_heavy(tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(JOB)
    lines = [("--help",), ("check", str(job))] if any((PACKAGE / "cli").glob("*.py")) else []
    loaded = {line: loaded_by(COMMAND.format(arguments=line)) for line in lines}
    assert {line: heavy for line, heavy in loaded.items() if heavy} == {}
