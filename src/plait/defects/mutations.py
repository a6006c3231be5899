"""Random mistakes in the parallel runtime: every place of `parallel` and `collectives` at which one could be made.

    mutations()                     enumerated from the source: module × function × operator × place
    with carry(partial(planted, mutation)): verify_plan(job, plan)

A mutated function is compiled anew inside of its module's own globals, and put where the original stands: on its class,
or in every module of Plait that knows it by name. It knows the two rooms' source; what is found there is
`mutation_sites`'s.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from zlib import crc32

from plait.defects.mutation_sites import Function, Operator, Site, replaced, sites

if TYPE_CHECKING:
    from plait.collectives.process_groups import Group

__all__ = ["Mutation", "mutations", "planted"]

_ROOMS = ("plait.parallel", "plait.collectives")
_INSTRUMENTS = (
    "links",
    "profiled",
    "contents",
    "wire",
)  # they measure, or are interfaces: nothing of a step goes through them
_ELSEWHERE = (  # between hosts, and lossy sums: no exact proof on one host goes there; they have tests of their own
    "background", "between_hosts", "cheapest", "codecs", "columns", "compression", "halves", "halving_doubling",
    "hierarchical", "hosts_first", "levels", "packed", "payloads", "peers", "powersgd", "residual", "ring", "rounded",
    "stepwise", "topk",
    "beside", "local_sgd", "parameter_server", "parameter_service", "parameter_shard", "synchronous_server",
)  # fmt: skip
_MOST_A_LINE = 1  # of one operator
_ANNOTATIONS_STAY_TEXT = 0x1000000  # __future__.annotations.compiler_flag, as in every module of Plait


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One change of one function. `ordinal`: its place among the function's; `again`: how many with the same words
    come before it."""

    module: str
    qualname: str
    line: int
    operator: Operator
    ordinal: int
    before: str
    after: str
    again: int = 0

    @property
    def key(self) -> str:
        """Its name, which outlives a change of the lines above it."""
        repeated = f" #{self.again + 1}" if self.again else ""
        words = f"{self.before} → {self.after}".replace("\n", "; ")
        return f"{self.module.removeprefix('plait.')}:{self.qualname} | {self.operator} | {words}{repeated}"

    @property
    def description(self) -> str:
        """Where it stands and what it does, in one line."""
        file = self.module.removeprefix("plait.").replace(".", "/") + ".py"
        words = f"{self.before} → {self.after}".replace("\n", "; ")
        return f"{file}:{self.line} {self.qualname}: {self.operator}: {words}"


@lru_cache(maxsize=1)
def mutations() -> tuple[Mutation, ...]:
    """One for each line and operator, drawn by the words themselves, in the order of the source."""
    found: list[Mutation] = []
    for room in _ROOMS:
        for file in sorted(_source_of(room).parent.glob("*.py")):
            if file.stem in (*_INSTRUMENTS, *_ELSEWHERE):
                continue
            module = room if file.stem == "__init__" else f"{room}.{file.stem}"
            for qualname, function in _functions(ast.parse(file.read_text())):
                found += _of_function(module, qualname, function)
    drawn: Counter[tuple[str, int, Operator]] = Counter()
    kept: set[str] = set()
    for mutation in sorted(found, key=lambda one: (crc32(one.key.encode()), one.key)):
        place = (mutation.module, mutation.line, mutation.operator)
        drawn[place] += 1
        if drawn[place] <= _MOST_A_LINE:
            kept.add(mutation.key)
    return tuple(mutation for mutation in found if mutation.key in kept)


@contextmanager
def planted(mutation: Mutation) -> Iterator[None]:
    """The mutated function in the original's place, in this process, for the length of the block.

    Raises ValueError where the source is no longer the one that the mutation was found in.
    """
    module = import_module(mutation.module)
    *owners, name = mutation.qualname.split(".")
    owner: Any = module
    for part in owners:
        owner = getattr(owner, part)
    original = inspect.getattr_static(owner, name)
    mutated = _compiled(mutation, module)
    try:
        _put(owner, name, original, mutated)
        yield
    finally:
        _put(owner, name, mutated, original)


def _put(owner: Any, name: str, old: Any, new: Any) -> None:
    """`new` for `old`: on its class, or in all modules; those that come to know it while it stands, too."""
    if not isinstance(owner, ModuleType):
        setattr(owner, name, new)
        return
    for module in [module for path, module in sys.modules.items() if path.partition(".")[0] == "plait"]:
        for known in [known for known, value in vars(module).items() if value is old]:
            setattr(module, known, new)


# ---- from the source ----------------------------------------------------------------------------------------------


def _source_of(module: str) -> Path:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def _functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Functions and methods by qualified name; what is defined inside of a function belongs to it."""
    for node in tree.body:
        if isinstance(node, Function):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{method.name}", method) for method in node.body if isinstance(method, Function))


def _of_function(module: str, qualname: str, function: Function) -> Iterator[Mutation]:
    met: Counter[tuple[str, str, str]] = Counter()
    for ordinal, site in enumerate(sites(function)):
        words = (site.operator, site.before, site.after)
        yield Mutation(
            module=module,
            qualname=qualname,
            line=getattr(site.node, "lineno", function.lineno),
            operator=site.operator,
            ordinal=ordinal,
            before=site.before,
            after=site.after,
            again=met[words],
        )
        met[words] += 1


def _compiled(mutation: Mutation, module: ModuleType) -> Any:
    """The mutated function, decorated as the original is: a method, a property, a context manager."""
    tree = ast.parse(_source_of(mutation.module).read_text())
    function = dict(_functions(tree))[mutation.qualname]
    site = _site(mutation, function)
    make = ast.parse(f"def make(alone):\n    return {function.name}").body[0]
    assert isinstance(make, Function)
    make.body.insert(0, replaced(function, site))
    whole = ast.fix_missing_locations(ast.Module(body=[make], type_ignores=[]))
    made: dict[str, Any] = {}
    code = compile(whole, str(module.__file__), "exec", flags=_ANNOTATIONS_STAY_TEXT, dont_inherit=True)
    exec(code, vars(module), made)
    return made["make"](_alone)


def _site(mutation: Mutation, function: Function) -> Site:
    found = sites(function)
    if mutation.ordinal < len(found):
        site = found[mutation.ordinal]
        if (site.operator, site.before, site.after) == (mutation.operator, mutation.before, mutation.after):
            return site
    raise ValueError(f"{mutation.key}: the source has changed since; enumerate again")


def _alone(group: Group) -> Group:
    return replace(group, ranks=(group.ranks[group.index],), index=0, handle=None)
