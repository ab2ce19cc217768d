"""How much evaluation databases prove: small wrong changes to a gold (mutants), and whether its answers tell.

A mutant that no database tells from its gold is either a weakness of the databases or no change of meaning at all.
Equivalence cannot be decided in general, so three figures are kept apart: mutants that a rule proves equivalent,
mutants that only the given databases fail to tell apart though some other filling does, and mutants that nothing
tried tells apart (presumably equivalent). See `Power`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlglot import exp

from text2sql.sqlexec.schema import Schema

LIKE_ANCHORS = 3


@dataclass(frozen=True)
class Mutant:
    """A changed gold. `equivalent` names the rule that proves the change to be none in meaning, or is None."""

    kind: str
    sql: str
    equivalent: str | None = None


@dataclass(frozen=True)
class Power:
    """Counts of one gold's mutants on its instances: killed + survived + equivalent + presumed = mutants.

    killed: some instance answers otherwise than for the gold. survived: no instance does, but another filling did.
    equivalent: proven by rule. presumed: told apart by nothing that was tried.
    """

    mutants: int
    killed: int
    survived: int
    equivalent: int
    presumed: int

    @property
    def raw_rate(self) -> float | None:
        """killed / mutants."""
        return self.killed / self.mutants if self.mutants else None

    @property
    def kill_rate(self) -> float | None:
        """killed / (mutants that are not, as far as known, equivalent); None where there is none."""
        different = self.killed + self.survived
        return self.killed / different if different else None


# Changes: each takes a node and yields (kind, replacement) pairs -------------------------------------------------------

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


def _is_join_condition(node: exp.Expression) -> bool:
    return isinstance(node, exp.EQ) and isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column)


def _comparisons(node: exp.Expression) -> Iterator[tuple[str, exp.Expression]]:
    for other in _COMPARISONS.get(type(node), []):
        if not _is_join_condition(node) or other is exp.NEQ:
            yield "comparison", other(this=node.this.copy(), expression=node.expression.copy())
    if isinstance(node, exp.Between):
        this, low, high = (node.args[key].copy() for key in ("this", "low", "high"))
        yield "comparison", exp.And(this=exp.GT(this=this, expression=low), expression=exp.LTE(this=this.copy(), expression=high))
        yield "comparison", exp.And(this=exp.GTE(this=this.copy(), expression=low.copy()), expression=exp.LT(this=this.copy(), expression=high.copy()))  # fmt: skip
    if isinstance(node, exp.Not):
        yield "negation", node.this.copy()
    elif isinstance(node, (exp.In, exp.Exists)) and not isinstance(node.parent, exp.Not):
        yield "negation", exp.Not(this=node.copy())


def _connectives(node: exp.Expression) -> Iterator[tuple[str, exp.Expression]]:
    if isinstance(node, (exp.And, exp.Or)):
        sides = [node.this.copy(), node.expression.copy()]
        other = exp.Or if isinstance(node, exp.And) else exp.And
        yield "and/or", exp.Paren(this=other(this=sides[0], expression=sides[1]))
        yield "condition dropped", exp.Paren(this=sides[0].copy())
        yield "condition dropped", exp.Paren(this=sides[1].copy())


def _aggregates(node: exp.Expression) -> Iterator[tuple[str, exp.Expression]]:
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


def _constants(node: exp.Expression) -> Iterator[tuple[str, exp.Expression]]:
    if not isinstance(node, exp.Literal) or isinstance(node.parent, (exp.Limit, exp.Offset, exp.Ordered, exp.Group, exp.DataTypeParam)):
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


def _shape(node: exp.Expression) -> Iterator[tuple[str, exp.Expression]]:
    """DISTINCT, LIMIT, ORDER BY, JOIN kind, GROUP BY, HAVING, set operations."""
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
        for other in (count + 1, count - 1) if count > 1 else (count + 1,):
            yield "limit", exp.Limit(expression=exp.Literal.number(other))
    if isinstance(node, exp.Ordered):
        changed = node.copy()
        changed.set("desc", not node.args.get("desc"))
        changed.set("nulls_first", None)
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
        args = {key: value.copy() if isinstance(value, exp.Expression) else value for key, value in node.args.items()}
        args["distinct"] = True
        yield "set operation", other(**args)
    if isinstance(node, exp.Union):
        changed = node.copy()
        changed.set("distinct", not node.args.get("distinct"))
        yield "set operation", changed


def _columns(schema: Schema) -> Callable[[exp.Expression], Iterator[tuple[str, exp.Expression]]]:
    def change(node: exp.Expression) -> Iterator[tuple[str, exp.Expression]]:
        if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier) or node.find_ancestor(exp.Join):
            return
        table = _table_of(node, schema)
        column = table and schema.column(table, node.name)
        if not column:
            return
        names = list(schema.tables[table.lower()].columns.values())
        start = names.index(column)
        for other in names[start + 1 :] + names[:start]:
            if other.kind == column.kind:
                yield "column", exp.column(other.name, node.table or None, quoted=True)
                return

    return change


# Rules that prove a change to be none -----------------------------------------------------------------------------------


def _sources(select: exp.Expression) -> dict[str, exp.Expression]:
    items = [select.args.get("from_"), *(select.args.get("joins") or [])]
    return {item.this.alias_or_name.lower(): item.this for item in items if item is not None}


def _table_of(column: exp.Column, schema: Schema) -> str | None:
    """The base table that a column of the select around it belongs to."""
    select = column.find_ancestor(exp.Select)
    while select is not None:
        sources = _sources(select)
        if column.table:
            source = sources.get(column.table.lower())
            if source is not None:
                return source.name if isinstance(source, exp.Table) and schema.tables.get(source.name.lower()) else None
        else:
            for source in sources.values():
                if isinstance(source, exp.Table) and schema.column(source.name, column.name):
                    return source.name
        select = select.find_ancestor(exp.Select)
    return None


def _one_row(select: exp.Expression) -> bool:
    """An aggregate without GROUP BY answers one row."""
    return (
        isinstance(select, exp.Select)
        and not select.args.get("group")
        and bool(select.expressions)
        and all(e.find(exp.AggFunc) and not e.find(exp.Window) for e in select.expressions)
    )


def _rows_differ(select: exp.Select, schema: Schema) -> bool:
    """Whether no two rows of the answer can be equal: it holds all group keys, or a key of every table."""
    if _one_row(select):
        return True
    shown = {e.unalias().sql("sqlite").lower() for e in select.expressions}
    names = {e.unalias().name.lower() for e in select.expressions if isinstance(e.unalias(), exp.Column)}
    group = select.args.get("group")
    if group:
        return all(e.sql("sqlite").lower() in shown or (isinstance(e, exp.Column) and e.name.lower() in names and len(_sources(select)) == 1)
                   for e in group.expressions)  # fmt: skip
    if any(e.find(exp.AggFunc) for e in select.expressions):
        return False
    for alias, source in _sources(select).items():
        table = schema.tables.get(source.name.lower()) if isinstance(source, exp.Table) else None
        if table is None:
            return False
        if any(isinstance(e.unalias(), exp.Star) for e in select.expressions):
            mine = {name.lower() for name in table.columns}
        else:
            mine = {e.unalias().name.lower() for e in select.expressions if isinstance(e.unalias(), exp.Column)
                    and (e.unalias().table.lower() == alias or (not e.unalias().table and len(_sources(select)) == 1))}  # fmt: skip
        keys = [key for key in table.keys if all(table.columns[name].not_null for name in key)]
        if not any({name.lower() for name in key} <= mine for key in keys):
            return False
    return bool(_sources(select))


def _always_joined(join: exp.Join, schema: Schema) -> bool:
    """A join from a NOT NULL foreign key to the key it refers to finds a partner for every row."""
    on, target = join.args.get("on"), join.this
    select = join.parent
    if not (isinstance(on, exp.EQ) and _is_join_condition(on) and isinstance(target, exp.Table) and isinstance(select, exp.Select)):
        return False
    if any(other.args.get("side") for other in select.args.get("joins") or []):
        return False
    alias = target.alias_or_name.lower()
    sides = [on.this, on.expression]
    parents = [side for side in sides if side.table.lower() == alias]
    children = [side for side in sides if side.table and side.table.lower() != alias]
    if len(parents) != 1 or len(children) != 1:
        return False
    source = _sources(select).get(children[0].table.lower())
    table = schema.tables.get(source.name.lower()) if isinstance(source, exp.Table) else None
    column = table and schema.column(table.name, children[0].name)
    if not column or not column.not_null:
        return False
    return any(
        link.parent.lower() == target.name.lower()
        and (link.columns, tuple(c.lower() for c in link.parent_columns)) == ((column.name,), (parents[0].name.lower(),))
        for link in table.foreign_keys
    )


def _joined_equal(column: exp.Column, other: str, schema: Schema) -> bool:
    return False if column is None or other is None or schema is None else False


def _equivalent(kind: str, node: exp.Expression, new: exp.Expression, schema: Schema) -> str | None:
    """The rule that proves replacing `node` by `new` to change no answer, or None."""
    select = node if isinstance(node, exp.Select) else node.find_ancestor(exp.Select)
    if kind == "distinct" and isinstance(node, exp.Select):
        if _rows_differ(node, schema):
            return "no two rows are equal"
        parent = node.parent
        while isinstance(parent, (exp.Paren, exp.Subquery)):
            parent = parent.parent
        if isinstance(parent, (exp.In, exp.Exists)):
            return "IN and EXISTS ignore repetitions"
        if isinstance(parent, exp.SetOperation) and parent.args.get("distinct") and not node.args.get("limit"):
            return "the set operation removes repetitions"
    if kind in ("limit", "order direction", "order dropped") and select is not None and _one_row(select):
        return "the answer has one row"
    if kind == "join kind" and isinstance(node, exp.Join) and not node.args.get("side") and _always_joined(node, schema):
        return "a NOT NULL foreign key always finds its parent"
    if kind in ("aggregate", "distinct") and isinstance(node, exp.Count) and isinstance(node.this, exp.Column):
        table = _table_of(node.this, schema)
        column = table and schema.column(table, node.this.name)
        sides = any(join.args.get("side") for join in (select.args.get("joins") or [])) if select is not None else True
        if column and column.not_null and not sides:
            if isinstance(new.this, exp.Star):
                return "a NOT NULL column counts every row"
            if isinstance(new.this, exp.Distinct) and len(_sources(select)) == 1 and (column.name,) in schema.tables[table.lower()].keys:
                return "a key repeats no value"
    return None


def mutants(tree: exp.Expression | None, schema: Schema) -> list[Mutant]:
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
                    found[sql] = Mutant(kind, sql, _equivalent(kind, node, new, schema))
    return list(found.values())


def _nth(tree: exp.Expression, position: int) -> exp.Expression:
    return next(node for number, node in enumerate(tree.walk()) if number == position)
