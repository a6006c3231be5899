"""What `check` answers: everything that makes a job illegal, and everything suspicious about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plait.errors import Problem
from plait.layers.parameters import Parameters
from plait.plans.planned import Caution

__all__ = ["Report", "parameters_document", "problem_document"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The answer to "is this job legal?": all errors at once, and warnings that forbid nothing. `parameters`: of a
    legal job's model."""

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Caution, ...] = ()
    parameters: Parameters | None = None

    @property
    def ok(self) -> bool:
        """Whether the job is legal."""
        return not self.errors

    def document(self) -> dict[str, Any]:
        """The `check` document of the contract."""
        return {
            "ok": self.ok,
            "errors": [problem_document(error) for error in self.errors],
            "warnings": [{"key": warning.key, "message": warning.message} for warning in self.warnings],
            **parameters_document(self.parameters),
        }


def parameters_document(found: Parameters | None) -> dict[str, Any]:
    """How many weights a model has, and those that one token meets, as documents have it."""
    return {
        "parameters": None if found is None else found.total,
        "active_parameters": None if found is None else found.active,
    }


def problem_document(problem: Problem) -> dict[str, Any]:
    """A problem as the documents of the contract have it; `legal` is a list of values, or says which in words."""
    legal = problem.legal if isinstance(problem.legal, str) else list(problem.legal)
    return {"key": problem.key, "message": problem.message, "legal": legal}
