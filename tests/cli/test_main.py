"""The command line: exit codes, one JSON document whatever happens, and failures that say what a user can do."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from types import ModuleType

import pytest

from plait.cli import main as door
from plait.cli.main import COMMANDS, main
from plait.cli.output import Answer, JsonFlag
from plait.errors import IllegalJob, IllegalSchedule, NothingFits, PlaitError, Problem, RankFailure, UnusableInput
from tests.contract.golden import JOB, assert_shape, golden

CHECK = ["check", str(JOB)]


@pytest.fixture
def try_command(monkeypatch):
    """Install a command `try` that does what it is told, and run it."""

    def run(action, *words: str) -> int:
        def command(json: JsonFlag = False) -> Answer:
            return action()

        module = ModuleType("tried")
        module.command = command
        monkeypatch.setitem(sys.modules, "tried", module)
        monkeypatch.setitem(door.COMMANDS, "try", "tried")
        return main(["try", *words])

    return run


def raiser(error: BaseException):
    def action() -> Answer:
        raise error

    return action


def plait(*words: str, **more) -> subprocess.CompletedProcess[str]:
    program = "import sys; from plait.cli.main import main; sys.exit(main())"
    run = [sys.executable, "-c", program, *words]
    return subprocess.run(run, capture_output=True, text=True, timeout=60, check=False, **more)


# ---- commands -------------------------------------------------------------------------------------------------------


def test_every_command_has_its_help(capsys):
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
    assert main(["--help"]) == 0
    assert "check" in capsys.readouterr().out


def test_a_bare_plait_asks_for_help(capsys):
    assert main([]) == 0
    assert "Usage" in capsys.readouterr().out


def test_it_says_which_version_it_is(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"plait {version('plait')}\n"
    assert main(["--help"]) == 0
    assert "--version" in capsys.readouterr().out


def test_help_wins_over_json(capsys):
    assert main(["check", "--help", "--json"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_a_command_is_imported_only_when_it_is_called():
    program = (
        f"import json, sys; from plait.cli.main import main; main({CHECK!r}); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "plait.cli.check" in loaded
    others = {module for name, module in COMMANDS.items() if name != "check"}
    assert loaded & {"torch", "numpy", "rich", "tomli_w", "plait.plans.prediction", *others} == set()


# ---- a wrong command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chek"], "the nearest is check"),
        (["check"], "JOB"),
        (["check", "a.toml", "b.toml"], "b.toml"),
        (["check", "a.toml", "--jsn"], "--jsn"),
        (["--version-of-what"], "--version-of-what"),
    ],
)
def test_a_wrong_command_line_is_2(words, said, capsys):
    assert main(words) == 2
    seen = capsys.readouterr()
    assert said in seen.err
    assert seen.out == ""


def test_a_wrong_command_line_speaks_json_too(capsys):
    assert main(["check", "--json", "--also"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert_shape(document, golden("error"))
    assert document["error"]["kind"] == "usage"


# ---- what can't be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"[model\n", "line 1, column 7"),
        (b"[model]\nlayers = = 2\n", "line 2, column 10"),
        (b"[model]\nname = '\xff'\n", "not UTF-8 text (at line 2, column 9)"),
        (b"[model]\nlayers = 1\nlayers = 2\n", "line 3"),
        (b"layers = " + b"9" * 5000, "not TOML"),
        (b"a = " + b"[" * 20000, "not TOML"),
    ],
)
def test_what_can_t_be_read_is_2(content, said, tmp_path, capsys):
    path = tmp_path / "job.toml"
    if content is not None:
        path.write_bytes(content)
    assert main(["check", str(path), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["kind"] == "unusable_input"
    assert said in document["error"]["message"]
    assert str(path) in document["error"]["message"]


def test_a_directory_is_2(tmp_path, capsys):
    assert main(["check", str(tmp_path)]) == 2
    assert "directory" in capsys.readouterr().err


def test_an_empty_file_is_readable_and_illegal(tmp_path, capsys):
    path = tmp_path / "job.toml"
    path.write_bytes(b"")
    assert main(["check", str(path), "--json"]) == 1
    assert [error["key"] for error in json.loads(capsys.readouterr().out)["errors"]] == ["model"]


# ---- endings --------------------------------------------------------------------------------------------------------


PROBLEMS = (Problem(key="plan.tensor", message="too many", legal=(1, 2)), Problem(key="model.heads", message="odd"))


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (UnusableInput("no such text"), 2, "unusable_input"),
        (IllegalJob(PROBLEMS), 2, "illegal_job"),
        (IllegalSchedule("it deadlocks"), 2, "illegal_schedule"),
        (NothingFits("not one of 12 plans"), 1, "nothing_fits"),
        (RankFailure(3, "Traceback: boom"), 3, "rank_failure"),
        (PlaitError("something of ours"), 3, "error"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x"), 3, "system"),
        (RuntimeError("we did not think of this"), 3, "defect"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_failure_is_one_document_and_a_code(try_command, capsys, error, code, kind):
    assert try_command(raiser(error), "--json") == code
    document = json.loads(capsys.readouterr().out)
    assert_shape(document, golden("error"))
    assert document["error"]["kind"] == kind


@pytest.mark.parametrize("error", [UnusableInput("no such text"), RankFailure(3, "Traceback: boom"), OSError("full")])
def test_people_read_a_failure_once_on_stderr(try_command, capsys, error):
    try_command(raiser(error))
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.count(str(error).splitlines()[-1]) == 1
    assert "plait/cli" not in seen.err


def test_an_illegal_job_is_told_as_check_tells_it(try_command, capsys):
    assert try_command(raiser(IllegalJob(PROBLEMS))) == 2
    assert capsys.readouterr().err.splitlines() == ["plan.tensor: too many; legal here: 1, 2", "model.heads: odd"]
    try_command(raiser(IllegalJob(PROBLEMS)), "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["errors"][0] == {"key": "plan.tensor", "message": "too many", "legal": [1, 2]}


def test_a_defect_shows_where_it_is(try_command, capsys):
    assert try_command(raiser(RuntimeError("we did not think of this"))) == 3
    seen = capsys.readouterr().err
    assert "Traceback" in seen
    assert seen.rstrip().endswith("RuntimeError: we did not think of this")


def test_the_answer_is_no(try_command, capsys):
    assert try_command(lambda: Answer(document={"ok": False}, lines=[[("red", "no")]], code=1)) == 1
    assert capsys.readouterr().out == "no\n"


def test_what_a_command_prints_does_not_spoil_the_document(try_command, capfd):
    def noisy() -> Answer:
        print("a library says something")
        os.write(1, b"a child process says something\n")
        return Answer(document={"ok": True})

    assert try_command(noisy, "--json") == 0
    seen = capfd.readouterr()
    assert json.loads(seen.out) == {"ok": True}
    assert "library" in seen.err
    assert "child" in seen.err


def test_numbers_that_json_has_not_are_null(try_command, capsys):
    document = {"error": float("nan"), "interval": (1.0, float("inf"))}
    try_command(lambda: Answer(document=document), "--json")
    assert json.loads(capsys.readouterr().out) == {"error": None, "interval": [1.0, None]}


# ---- as a process of its own ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [((*CHECK, "--json"), 0), (("check", "no/such/job.toml", "--json"), 2), (("check", "--json"), 2)],
)
def test_a_process_ends_with_the_code_and_one_document(words, code):
    done = plait(*words)
    assert done.returncode == code, done.stderr
    assert isinstance(json.loads(done.stdout), dict)


def test_nobody_reads_what_is_written():
    program = "import sys; from plait.cli.main import main; sys.exit(main())"
    reading, writing = os.pipe()
    os.close(reading)
    run = [sys.executable, "-c", program, *CHECK, "--json"]
    done = subprocess.run(run, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.parametrize("as_json", [["--json"], []])
def test_a_full_disk_behind_stdout_is_no_answer(as_json, tmp_path):
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    limit += "; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    program = f"{limit}; import sys; from plait.cli.main import main; sys.exit(main())"
    run = [sys.executable, "-B", "-c", program, *CHECK, *as_json]
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run(run, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("error: the answer can't be written: ")
    assert done.stderr.count("\n") == 1


def test_colours_are_for_terminals(monkeypatch, capsys):
    from plait.cli.output import write_lines

    write_lines([[("bold", "key"), ("", ": words")]], sys.stdout)
    assert capsys.readouterr().out == "key: words\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    write_lines([[("bold", "key"), ("", ": words")]], sys.stdout)
    assert "\x1b[1mkey" in capsys.readouterr().out


@pytest.mark.parametrize("terminal", [False, True])
def test_what_a_file_says_is_shown_and_not_obeyed(monkeypatch, capsys, terminal):
    from plait.cli.output import tell, write_lines

    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "dumb")
    write_lines([[("", "key\x1b[31m: "), ("", "one\ntwo \udcff")]], sys.stdout)
    tell("round\x9b31m")
    seen = capsys.readouterr()
    assert seen.out == "key\\u001B[31m: one\ntwo \\uDCFF\n"
    assert seen.err == "round\\u009B31m\n"


def test_commands_show_what_they_were_given(tmp_path, capsys):
    for words in (["check", "a\x1b[31m.toml"], ["check\x1b[31m"]):
        assert main(words) == 2
        assert "\\u001B[31m" in (told := capsys.readouterr().err)
        assert "\x1b" not in told
    (job := tmp_path / "job.toml").write_text('[model]\nname = "a\\u001b\\nb"\n["mod\\u001bel"]\n')
    assert main(["check", str(job)]) == 1
    told = capsys.readouterr().out
    assert r'"a\u001B\nb"' in told
    assert r"mod\u001Bel: unknown key" in told


def test_a_stream_of_few_characters_gets_those_alone(tmp_path):
    ascii_alone = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = plait("check", "é.toml", env=ascii_alone)
    assert done.returncode == 2
    assert done.stderr.startswith(r"error: \xe9.toml can't be read")
    asked = JOB.parents[2] / "examples" / "jobs" / "llama2_7b_4_gpus.toml"
    done = plait("plan", str(asked), "--out", str(tmp_path / "plan.toml"), env=ascii_alone)
    assert done.returncode == 0, done.stderr
    assert r" \xd7 " in done.stdout


@pytest.mark.clock
def test_check_answers_within_a_second_start_included():
    def seconds() -> float:
        start = time.perf_counter()
        assert plait(*CHECK).returncode == 0
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 1.0


def test_it_runs_as_a_module():
    ended = subprocess.run([sys.executable, "-m", "plait.cli.main", "nonsense"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "there is no command nonsense" in ended.stderr
