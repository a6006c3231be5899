"""What a training run leaves on disk, and where.

runs/demo/  job.toml  model.json  plan.toml  prediction.json     before step 1, and never altered
            tokenizer.json                                       as soon as the text is read
            metrics.jsonl  tensorboard/                          line by line
            weights/  measured.json  report.html                 at the end

runs/bench/ job.toml  predictions.json                           before the first turn, and never altered
            turns.jsonl                                          turn by turn
            bench.json  report.html                              at the end
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from plait.errors import UnusableInput
from plait.specs.documents import finite
from plait.specs.files import job_table
from plait.specs.job import Job
from plait.specs.model import ModelSpec

__all__ = ["RunDirectory", "written"]


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run, by what they hold."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> RunDirectory:
        """A new run at `path`. Raises UnusableInput as `require_free` does."""
        cls.require_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_place(path, error) from error
        return cls(path)

    @staticmethod
    def require_free(path: Path) -> None:
        """Raise UnusableInput where there already is something, or no directory can be made: to be known before
        anything is measured. Leaves nothing behind."""
        there = path.absolute()
        try:
            occupied = path.exists() and any(path.iterdir())
            while not there.exists():
                there = there.parent
            with tempfile.TemporaryDirectory(dir=there):
                pass
        except OSError as error:
            raise _no_place(path, error) from error
        if occupied:
            what = "already holds a run" if any(path.glob("*.toml")) or any(path.glob("*.jsonl")) else "is not empty"
            raise UnusableInput(f"{path}: {what}; name another directory, or remove this one")

    @property
    def job(self) -> Path:
        """The job, with everything that it left open settled."""
        return self.path / "job.toml"

    @property
    def plan(self) -> Path:
        """The plan that was performed, with its prediction."""
        return self.path / "plan.toml"

    @property
    def prediction(self) -> Path:
        """What was predicted, and the predicted timeline."""
        return self.path / "prediction.json"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that the model was trained with."""
        return self.path / "tokenizer.json"

    @property
    def metrics(self) -> Path:
        """One line a step."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def weights(self) -> Path:
        """The saved weights."""
        return self.path / "weights"

    @property
    def measured(self) -> Path:
        """What was measured, term by term."""
        return self.path / "measured.json"

    @property
    def turns(self) -> Path:
        """One line a turn of a bench."""
        return self.path / "turns.jsonl"

    @property
    def bench(self) -> Path:
        """What a bench found: the contract's document."""
        return self.path / "bench.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    def write_job(self, job: Job) -> None:
        """Leave the job, with everything that it left open settled."""
        self._write("job.toml", tomli_w.dumps(job_table(job)))

    def write_model(self, model: ModelSpec) -> None:
        """Leave the model's shape for whoever loads the weights."""
        self.write_json("model.json", asdict(model))

    def write_json(self, name: str, document: Mapping[str, Any] | list[Any]) -> None:
        """Write one document. Raises UnusableInput where the disk takes no more."""
        self._write(name, json.dumps(finite(document), indent=1, allow_nan=False) + "\n")

    def write_page(self, page: str) -> None:
        """Leave the report. Raises UnusableInput as above."""
        self._write(self.report.name, page)

    def _write(self, name: str, text: str) -> None:
        with written(self.path / name) as path:
            path.write_text(text, encoding="utf-8")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Within, a file is written; raises UnusableInput where the disk takes no more."""
    try:
        yield path
    except OSError as error:
        raise UnusableInput(f"{path}: can't be written: {error.strerror or error}") from error


def _no_place(path: Path, error: OSError) -> UnusableInput:
    return UnusableInput(f"{path}: can't hold a run: {error.strerror or error}; name another directory")
