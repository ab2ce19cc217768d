"""How much evaluation databases prove: small wrong changes to a gold (mutants), and whether its answers tell.

A mutant that no database tells from its gold is either a weakness of the databases or no change of meaning at all.
Equivalence cannot be decided in general, so three figures are kept apart: mutants that a rule proves equivalent,
mutants that only the given databases fail to tell apart though some other filling does, and mutants that nothing
tried tells apart (presumably equivalent). See `Power`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlglot import exp

from text2sql.databases.equivalence import equivalent, is_join_condition, table_of
from text2sql.databases.schema import Schema


@dataclass(frozen=True)
class Mutant:
    """A changed gold. `equivalent` names the rule that proves the change to be none in meaning, or is None."""

    kind: str
    sql: str
    equivalent: str | None = None


@dataclass(frozen=True)
class Power:
    """Counts of one gold's mutants on its instances; those after `mutants` add up to it.

    killed: some ordinary instance answers otherwise than for the gold. harshly: none does, but a harsh one. survived:
    no instance does, but another filling did. equivalent: proven by rule. presumed: told apart by nothing that was tried.
    """

    mutants: int
    killed: int
    harshly: int
    survived: int
    equivalent: int
    presumed: int

    @property
    def raw_rate(self) -> float | None:
        """Of all mutants, those that some instance tells apart."""
        return (self.killed + self.harshly) / self.mutants if self.mutants else None

    @property
    def kill_rate(self) -> float | None:
        """Of the mutants that are not, as far as known, equivalent, those told apart; None where there is none."""
        different = self.killed + self.harshly + self.survived
        return (self.killed + self.harshly) / different if different else None


# Changes: each takes a node and yields (kind, replacement) pairs ----------------------------------------------------

_COMPARISONS: dict[type, list[type]] = {
    exp.GT: [exp.GTE, exp.LT, exp.EQ],
    exp.GTE: [exp.GT, exp.LTE, exp.EQ],
    exp.LT: [exp.LTE, exp.GT, exp.EQ],
    exp.LTE: [exp.LT, exp.GTE, exp.EQ],
    exp.EQ: [exp.NEQ, exp.GTE, exp.LTE],
    exp.NEQ: [exp.EQ],
}
_AGGREGATES: dict[type, list[type]] = {
    exp.Max: [exp.Min],
    exp.Min: [exp.Max],
    exp.Avg: [exp.Sum],
    exp.Sum: [exp.Avg, exp.Count],
    exp.Count: [exp.Sum],
}
_SETS: dict[type, list[type]] = {
    exp.Union: [exp.Intersect],
    exp.Intersect: [exp.Union, exp.Except],
    exp.Except: [exp.Union, exp.Intersect],
}


def _comparisons(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    for other in _COMPARISONS.get(type(node), []):
        if not is_join_condition(node) or other is exp.NEQ:
            yield "comparison", other(this=node.this.copy(), expression=node.expression.copy())
    if isinstance(node, exp.Between):
        this, low, high = (node.args[key].copy() for key in ("this", "low", "high"))
        for lower, upper in ((exp.GT, exp.LTE), (exp.GTE, exp.LT)):
            bounds = exp.and_(lower(this=this, expression=low), upper(this=this, expression=high))
            yield "comparison", exp.Paren(this=bounds)
    if isinstance(node, exp.Not):
        yield "negation", node.this.copy()
    elif isinstance(node, (exp.In, exp.Exists)) and not isinstance(node.parent, exp.Not):
        yield "negation", exp.Not(this=node.copy())


def _connectives(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    if isinstance(node, (exp.And, exp.Or)):
        sides = [node.this.copy(), node.expression.copy()]
        other = exp.Or if isinstance(node, exp.And) else exp.And
        yield "and/or", exp.Paren(this=other(this=sides[0], expression=sides[1]))
        yield "condition dropped", exp.Paren(this=sides[0].copy())
        yield "condition dropped", exp.Paren(this=sides[1].copy())


def _aggregates(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    if type(node) not in _AGGREGATES or (isinstance(node, (exp.Max, exp.Min)) and node.expressions):
        return
    star = isinstance(node.this, exp.Star)
    distinct = isinstance(node.this, exp.Distinct)
    for other in _AGGREGATES[type(node)]:
        if not star:
            yield "aggregate", other(this=node.this.copy())
    if distinct:
        yield "distinct", type(node)(this=node.this.expressions[0].copy())
    elif not star and isinstance(node, (exp.Count, exp.Sum, exp.Avg)):
        yield "distinct", type(node)(this=exp.Distinct(expressions=[node.this.copy()]))
    if isinstance(node, exp.Count) and not star and not distinct:
        yield "aggregate", exp.Count(this=exp.Star())


def _constants(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    if not isinstance(node, exp.Literal) or isinstance(
        node.parent, (exp.Limit, exp.Offset, exp.Ordered, exp.Group, exp.DataTypeParam)
    ):
        return
    if not isinstance(node.parent, (exp.Predicate, exp.Paren, exp.Neg)):
        return
    if node.is_string:
        text = node.name
        if isinstance(node.parent, (exp.Like, exp.ILike)):
            core = text.strip("%")
            for pattern in dict.fromkeys([f"%{core}%", f"{core}%", f"%{core}", core]):
                if pattern != text:
                    yield "like pattern", exp.Literal.string(pattern)
            return
        changed = [text.upper() if text != text.upper() else text.lower(), text[:-1], text + "x"]
        for other in dict.fromkeys(changed):
            if other != text and not (isinstance(node.parent, exp.Glob)):
                yield "literal", exp.Literal.string(other)
    elif node.is_int:
        yield "literal", exp.Literal.number(int(node.name) + 1)
        yield "literal", exp.Literal.number(int(node.name) - 1)
    else:
        yield "literal", exp.Literal.number(float(node.name) + 1)
        yield "literal", exp.Literal.number(float(node.name) - 1)


def _shape(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """DISTINCT, LIMIT, ORDER BY, JOIN kind, GROUP BY, HAVING, set operations."""
    changed: exp.Expr
    if isinstance(node, exp.Select):
        changed = node.copy()
        changed.set("distinct", None if node.args.get("distinct") else exp.Distinct())
        yield "distinct", changed
        for part in ("having", "order"):
            ordered = part == "order" and (node.args.get("limit") or node.parent is None)
            if node.args.get(part) and (part == "having" or ordered):
                changed = node.copy()
                changed.set(part, None)
                yield f"{part} dropped", changed
        if node.args.get("where"):
            changed = node.copy()
            changed.set("where", None)
            if not isinstance(node.args["where"].this, (exp.And, exp.Or)):
                yield "condition dropped", changed
    if isinstance(node, exp.Limit) and isinstance(node.expression, exp.Literal) and node.expression.is_int:
        count = int(node.expression.name)
        for number in (count + 1, count - 1) if count > 1 else (count + 1,):
            yield "limit", exp.Limit(expression=exp.Literal.number(number))
    if isinstance(node, exp.Ordered):
        changed = node.copy()
        changed.set("desc", not node.args.get("desc"))
        changed.set("nulls_first", bool(node.args.get("desc")))  # SQLite: NULL is smallest
        yield "order direction", changed
    if isinstance(node, exp.Join) and (node.args.get("on") or node.args.get("using")):
        changed = node.copy()
        side = node.args.get("side")
        if not side:
            changed.set("side", "LEFT")
            changed.set("kind", None)
            yield "join kind", changed
        elif side.upper() == "LEFT":
            changed.set("side", None)
            yield "join kind", changed
    if isinstance(node, exp.Group) and len(node.expressions) > 1:
        for position in range(len(node.expressions)):
            changed = node.copy()
            changed.set("expressions", [e.copy() for i, e in enumerate(node.expressions) if i != position])
            yield "group key dropped", changed
    for other in _SETS.get(type(node), []):
        args = {key: value.copy() if isinstance(value, exp.Expr) else value for key, value in node.args.items()}
        args["distinct"] = True
        yield "set operation", other(**args)
    if isinstance(node, exp.Union):
        changed = node.copy()
        changed.set("distinct", not node.args.get("distinct"))
        yield "set operation", changed


def _columns(schema: Schema) -> Callable[[exp.Expr], Iterator[tuple[str, exp.Expr]]]:
    def change(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
        if (
            not isinstance(node, exp.Column)
            or not isinstance(node.this, exp.Identifier)
            or node.find_ancestor(exp.Join)
        ):
            return
        table = table_of(node, schema)
        column = table and schema.column(table, node.name)
        if not table or not column:
            return
        names = list(schema.tables[table.lower()].columns.values())
        start = names.index(column)
        for other in names[start + 1 :] + names[:start]:
            if other.kind == column.kind:
                yield "column", exp.column(other.name, node.table or None, quoted=True)
                return

    return change


def mutants(tree: exp.Expr | None, schema: Schema) -> list[Mutant]:
    """The mutants of a gold's tree (from `aims.parse`), without repetitions, in the order of the text."""
    if tree is None:
        return []
    original = tree.sql("sqlite")
    found: dict[str, Mutant] = {}
    changes = [_comparisons, _connectives, _aggregates, _constants, _shape, _columns(schema)]
    for position, node in enumerate(tree.walk()):
        for change in changes:
            for kind, new in change(node):
                if node is tree:
                    sql = new.sql("sqlite")
                else:
                    copy = tree.copy()
                    _nth(copy, position).replace(new.copy())
                    sql = copy.sql("sqlite")
                if sql != original and sql not in found:
                    found[sql] = Mutant(kind, sql, equivalent(kind, node, new, schema))
    return list(found.values())


def _nth(tree: exp.Expr, position: int) -> exp.Expr:
    return next(node for number, node in enumerate(tree.walk()) if number == position)
