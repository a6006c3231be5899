"""Where a function can be mutated, and into what: rules over its syntax tree, each in the words of one operator.

    drop           a statement, a collective, a term                      all_reduce(t, g).wait()   →  t
    double         a statement, a sum over ranks, a list                  x += y                    →  x += y; x += y
    wrong group    an axis, a place in a group, a group of one            "tensor"                  →  "data"
    wrong slice    a bound, a place, a strict comparison                  narrow(0, a, n)           →  narrow(0, 0, n)
    wrong scale    a factor, a sign, what is returned                     a * b                     →  a / b
    wrong choice   a condition, a minimum, an operation                   x is None                 →  x is not None

Rules see one node and give the source of what stands there instead; `alone` in it is a group of this rank only. No site
is what is said in errors, annotations and docstrings, what only tells the time, and what only checks. It knows Python's
syntax and the names that the runtime uses.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

__all__ = ["OPERATORS", "Function", "Operator", "Site", "replaced", "sites"]

Operator = Literal["drop", "double", "wrong group", "wrong slice", "wrong scale", "wrong choice"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
Function = ast.FunctionDef
_Found = Iterator[tuple[Operator, str]]

_AXES = ("data", "tensor", "pipeline")
_GROUPS = ("group", "self.group", "self._group", "ctx.group")
_HANDLES = ("all_reduce", "all_gather", "reduce_scatter")  # what they return is waited for
_VALUES = ("own_share", "cross", "_moved", "_padded")  # what they return is the tensor
_FREE = ("contiguous", "square", "sqrt", "double", "detach", "log", "exp_")  # methods without arguments
_FACTORS = ("loss_scale", "self._loss_scale", "scale", "limit", "target_count")
_SWAPPED = {"mul_": "div_", "div_": "mul_", "add_": "sub_", "scatter_add_": "scatter_", "max": "min", "min": "max"}
_IDEMPOTENT = ("zero_", "clear", "wait", "wait_for_sends", "wait_for_receives", "copy_", "setattr", "requires_grad_")
_CHECKS = ("strict", "async_op", "repr")  # keywords
_CLOCKS = ("perf_counter", "blocked_seconds", "timeline")
_WORDS = {"sum": "max", "max": "sum", "send": "receive", "receive": "send"}
_NEGATED: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
_SHIFTED: dict[type[ast.cmpop], str] = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
_SIGNED: dict[type[ast.operator], str] = {ast.Add: "-", ast.Sub: "", ast.Mult: "/", ast.Div: "*"}


class Site(NamedTuple):
    """A node, and the source of what replaces it."""

    node: ast.AST
    operator: Operator
    after: str

    @property
    def before(self) -> str:
        """The node's own source, without its layout."""
        return ast.unparse(self.node)


@dataclass(frozen=True)
class _Place:
    """A node with what surrounds it."""

    node: ast.AST
    parent: ast.AST
    function: Function


def sites(function: Function) -> list[Site]:
    """All of a function, in the order of its source."""
    found: list[Site] = []
    for place in _places(function):
        seen: set[str] = set()
        for rule in _RULES:
            for operator, after in rule(place):
                if after not in seen:  # two rules may meet in one change
                    seen.add(after)
                    found.append(Site(place.node, operator, after))
    return found


def replaced(function: Function, site: Site) -> Function:
    """The function with what stands at the site changed; `site` is one of the same tree, which is used up."""

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:
            if node is not site.node:
                return self.generic_visit(node)
            parsed = ast.parse(site.after).body
            return parsed if isinstance(node, ast.stmt) else ast.parse(site.after, mode="eval").body

    changed = Replace().visit(function)
    assert isinstance(changed, Function)
    return changed


# ---- where to look ------------------------------------------------------------------------------------------------


def _places(function: Function) -> Iterator[_Place]:
    for default in (*function.args.defaults, *function.args.kw_defaults):
        if default is not None:
            yield from _within(default, function.args, function)
    for statement in function.body:
        yield from _within(statement, function, function)


def _within(node: ast.AST, parent: ast.AST, function: Function) -> Iterator[_Place]:
    if isinstance(node, ast.Raise | ast.Assert | ast.arguments | ast.JoinedStr) or _is_docstring(node):
        return
    if _tells_the_time(node) or (isinstance(node, ast.keyword) and node.arg in _CHECKS):
        return
    if not isinstance(getattr(node, "ctx", None), ast.Store):  # what is assigned to has to stay a place
        yield _Place(node, parent, function)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "pattern") or (name == "test" and _is_guard(node)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _within(child, node, function)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _tells_the_time(node: ast.AST) -> bool:
    simple = isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Return)
    return simple and any(word in ast.unparse(node) for word in _CLOCKS)


def _is_guard(node: ast.AST) -> bool:
    """Whether a condition does no more than refuse."""
    return isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)


# ---- rules: statements --------------------------------------------------------------------------------------------


def _statements(place: _Place) -> _Found:
    match place.node:
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            text = ast.unparse(place.node)
            yield "drop", "pass"
            if not (isinstance(place.node, ast.Expr) and text.partition("(")[0].rpartition(".")[2] in _IDEMPOTENT):
                yield "double", f"{text}\n{text}"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) if place.function.name != "__init__":
            yield "drop", "pass"
        case ast.Assign(targets=[ast.Tuple(elts=[ast.Name("start"), ast.Name("stop")])]):
            text = ast.unparse(place.node)
            yield "wrong slice", f"{text}\nstart, stop = (start + 1, stop + 1)"
            yield "wrong slice", f"{text}\nstop = stop - 1"
        case ast.Return(value=ast.expr() as value):
            for text in _doubled(value, place.function):
                yield "wrong scale", text
        case _:
            pass


def _doubled(value: ast.expr, function: Function) -> Iterator[str]:
    """The return statement, with the tensor or the number in it times two."""
    text = ast.unparse(value)
    if isinstance(value, ast.Tuple) and function.name == "backward":
        first, *others = (ast.unparse(element) for element in value.elts)
        yield f"return ({', '.join([f'2 * {first}', *others])})"
    elif _returns_numbers(function) and isinstance(value, ast.IfExp):
        body, test, otherwise = (ast.unparse(part) for part in (value.body, value.test, value.orelse))
        yield (
            f"return None if {test} else 2 * ({otherwise})"
            if body == "None"
            else f"return 2 * ({body}) if {test} else None"
        )
    elif _returns_numbers(function):
        yield f"return 2 * ({text})"


def _returns_numbers(function: Function) -> bool:
    kinds = ast.unparse(function.returns).split(" | ") if function.returns is not None else []
    return bool({"torch.Tensor", "float"} & set(kinds))


# ---- rules: calls -------------------------------------------------------------------------------------------------


def _collectives(place: _Place) -> _Found:
    match place.node:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(name)) as call, attr="wait")) if name in _HANDLES:
            tensor, *others = (ast.unparse(argument) for argument in call.args)
            text = ast.unparse(place.node)
            yield "wrong scale", f"{text}.mul_(2)"
            yield "wrong scale", f"{text}.div_({others[0]}.size)"
            if isinstance(place.parent, ast.Expr):  # dropped and doubled as a statement
                return
            yield "drop", tensor
            if name == "all_reduce":
                yield "double", f"all_reduce({', '.join([text, *others])}).wait()"
        case ast.Call(func=ast.Attribute(value=ast.Name("handle"), attr="wait")):
            yield "wrong scale", f"{ast.unparse(place.node)}.mul_(2)"
            yield "wrong scale", f"{ast.unparse(place.node)}.mul_(0.5)"
        case ast.Call(func=ast.Name(name), args=[tensor, *_]) if name in _HANDLES and not _is_waited_for(place):
            yield "drop", f"Handle('', None, lambda: {ast.unparse(tensor)})"
        case ast.Call(func=ast.Name(name), args=[tensor, *_]) if name in _VALUES:
            yield "drop", ast.unparse(tensor)
        case _:
            pass


def _is_waited_for(place: _Place) -> bool:
    return isinstance(place.parent, ast.Attribute)


def _calls(place: _Place) -> _Found:
    match place.node:
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=[]) if name in _FREE:
            yield "drop", ast.unparse(value)
        case ast.Call(func=ast.Attribute(value=value, attr="narrow"), args=[dim, start, length]):
            tensor, along, first, count = (ast.unparse(part) for part in (value, dim, start, length))
            if first != "0":
                yield "wrong slice", f"{tensor}.narrow({along}, 0, {count})"
            yield "wrong slice", f"{tensor}.narrow({along}, {first}, {count} - 1)"
        case ast.Call(func=ast.Name("slice"), args=[start, stop]):
            yield "wrong slice", f"slice({ast.unparse(start)} + 1, {ast.unparse(stop)} + 1)"
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in _SWAPPED:
            text = ast.unparse(place.node)
            yield (
                "wrong scale",
                f"{ast.unparse(value)}.{_SWAPPED[name]}{text.removeprefix(f'{ast.unparse(value)}.{name}')}",
            )
        case ast.Call(func=ast.Name(name)) if name in _SWAPPED:
            yield "wrong choice", _SWAPPED[name] + ast.unparse(place.node).removeprefix(name)
        case ast.ListComp() if isinstance(place.parent, ast.Return | ast.Assign):
            text = ast.unparse(place.node)
            yield "double", f"[*{text}, *{text}]"
        case _:
            pass


def _groups(place: _Place) -> _Found:
    node, parent, text = place.node, place.parent, ast.unparse(place.node)
    is_argument = isinstance(parent, ast.Call | ast.keyword) and node is not getattr(parent, "func", None)
    match node:
        case ast.Constant(value=str(axis)) if axis in _AXES:
            for other in _AXES:
                if other != axis:
                    yield "wrong group", repr(other)
        case ast.Attribute(value=group, attr="index") if not (isinstance(parent, ast.Call) and parent.func is node):
            yield "wrong group", f"(({text} + 1) % {ast.unparse(group)}.size)"
        case ast.Subscript(value=ast.Attribute(value=group, attr="ranks"), slice=index):
            size = f"{ast.unparse(group)}.size"
            yield "wrong group", f"{ast.unparse(group)}.ranks[({ast.unparse(index)} + 1) % {size}]"
        case ast.Attribute(attr="axis") if _is_call_of(parent, "note"):
            yield "wrong group", f"('tensor' if {text} == 'data' else 'data')"
        case ast.Name() | ast.Attribute() if is_argument and text in _GROUPS:
            yield "wrong group", f"alone({text})"
        case ast.Call(func=ast.Attribute(attr="axis")) if is_argument:
            yield "wrong group", f"alone({text})"
        case _:
            pass


def _is_call_of(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == name


# ---- rules: expressions -------------------------------------------------------------------------------------------


def _arithmetic(place: _Place) -> _Found:
    match place.node:
        case ast.BinOp(left=ast.Tuple()):
            pass
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _SIGNED:
            before, after = f"({ast.unparse(left)})", f"({ast.unparse(right)})"
            yield "drop", before
            if isinstance(operation, ast.Sub):
                yield "wrong slice", f"({before} - {after} + 1)"
            else:
                yield "wrong scale", f"({before} {_SIGNED[type(operation)]} {after})"
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            yield "drop", f"({ast.unparse(left)})"
            yield "drop", f"({ast.unparse(right)})"
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
            yield "wrong scale", f"({ast.unparse(operand)})"
        case ast.Constant(value=float(number)) if number:
            yield "wrong scale", repr(2 * number)
        case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()) if ast.unparse(place.node) in _FACTORS:
            for factor in (2, 0.5):
                yield "wrong scale", f"({ast.unparse(place.node)} * {factor})"
        case _:
            pass


def _places_in_sequences(place: _Place) -> _Found:
    node, parent = place.node, place.parent
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int(number)) if isinstance(parent, ast.Subscript):
            yield "wrong slice", "1" if number == 0 else "0"
        case ast.Constant(value=int(number)) if isinstance(parent, ast.Compare) or _is_call_of(parent, "range"):
            yield "wrong slice", str(number + 1)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()) if isinstance(parent, ast.Subscript):
            yield "wrong slice", "0"
        case ast.Name("SEQUENCE_DIM") if not isinstance(parent, ast.BinOp):
            yield "wrong slice", "(SEQUENCE_DIM - 1)"
        case ast.Name("rank") if isinstance(parent, ast.Subscript) and parent.slice is node:
            yield "wrong slice", f"(rank + 1) % len({ast.unparse(parent.value)})"
        case _:
            pass


def _conditions(place: _Place) -> _Found:
    match place.node:
        case ast.Compare(left=left, ops=[operation], comparators=[right]) if type(operation) in _NEGATED:
            yield "wrong choice", f"({ast.unparse(left)} {_NEGATED[type(operation)]} {ast.unparse(right)})"
        case ast.Compare(left=left, ops=[operation], comparators=[right]) if type(operation) in _SHIFTED:
            yield "wrong slice", f"({ast.unparse(left)} {_SHIFTED[type(operation)]} {ast.unparse(right)})"
        case ast.BoolOp(op=operation, values=values):
            word = " or " if isinstance(operation, ast.And) else " and "
            yield "wrong choice", f"({word.join(ast.unparse(value) for value in values)})"
        case ast.IfExp(test=ast.Name() | ast.Attribute() as test, body=body, orelse=otherwise):
            yield "wrong choice", f"({ast.unparse(otherwise)} if {ast.unparse(test)} else {ast.unparse(body)})"
        case ast.Name() | ast.Attribute() | ast.Call() if _is_test_of(place.parent, place.node):
            yield "wrong choice", f"(not {ast.unparse(place.node)})"
        case ast.Constant(value=bool(flag)):
            yield "wrong choice", repr(not flag)
        case ast.Constant(value=str(word)) if word in _WORDS:
            yield "wrong choice", repr(_WORDS[word])
        case ast.Attribute(value=ast.Name("Kind"), attr="F" | "B" as kind):
            yield "wrong choice", f"Kind.{'B' if kind == 'F' else 'F'}"
        case _:
            pass


def _is_test_of(parent: ast.AST, node: ast.AST) -> bool:
    return isinstance(parent, ast.If | ast.While | ast.match_case) and node in ast.iter_child_nodes(parent)


_RULES = (_statements, _collectives, _calls, _groups, _arithmetic, _places_in_sequences, _conditions)
