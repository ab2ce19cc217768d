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
from text2sql.databases.schema import Schema, Table

NODES = 500  # of a gold's tree that are changed, about
OF_A_KIND = 40  # mutants of a gold, about
AMOUNTS = 4  # columns of a table, at most, that a count may be taken to add up


@dataclass(frozen=True)
class Mutant:
    """A changed gold. `equivalent` names the rule that proves the change to be none in meaning, or is None;
    `ordinarily` the one that proves so for ordinary fillings."""

    kind: str
    sql: str
    equivalent: str | None = None
    ordinarily: str | None = None


@dataclass(frozen=True)
class Power:
    """Counts of one gold's mutants on its instances; those after `mutants` add up to it.

    killed: some ordinary instance answers otherwise than for the gold. harshly: none does, but a harsh one. survived:
    no instance does, but another filling did. equivalent: proven by rule. presumed: nothing tried told it apart.
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
    if isinstance(node, exp.Avg):
        if not isinstance(node.parent, exp.Round):
            yield "rounding", exp.Round(this=node.copy())
        if not distinct:
            whole = exp.Mul(this=exp.Sum(this=node.this.copy()), expression=exp.Literal.number("1.0"))
            yield "aggregate", exp.Paren(this=exp.Div(this=whole, expression=exp.Count(this=exp.Star())))


def _constants(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    if not isinstance(node, exp.Literal) or isinstance(
        node.parent, (exp.Limit, exp.Offset, exp.Ordered, exp.Group, exp.DataTypeParam)
    ):
        return
    if not isinstance(node.parent, (exp.Predicate, exp.Paren, exp.Neg)):
        return
    if node.is_string:
        text = node.name
        if isinstance(node.parent, exp.EQ) and text.lower() != text.upper() and not set(text) & set("%_"):
            yield "letter case", exp.Collate(this=node.copy(), expression=exp.Var(this="NOCASE"))
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
    if isinstance(node, exp.Offset) and isinstance(node.expression, exp.Literal) and node.expression.is_int:
        for number in (int(node.expression.name) + 1, 0):
            yield "offset", exp.Offset(expression=exp.Literal.number(number))
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


def _merged(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """Two queries taken for one: both conditions asked of the same row, or of the rows of a group."""
    if isinstance(node, exp.Not) and isinstance(node.this.unnest(), exp.In):
        inner = node.this.unnest().args.get("query")
        select = inner.unnest() if inner is not None else None
        if isinstance(select, exp.Select) and select.args.get("where"):
            changed = node.this.copy()
            where = changed.unnest().args["query"].unnest().args["where"]
            where.this.replace(exp.Not(this=exp.Paren(this=where.this.copy())))
            yield "one row for two", changed
    if not isinstance(node, (exp.Intersect, exp.Except)):
        return
    left, right = node.this.unnest(), node.expression.unnest()
    yield from _merged_groups(node, left, right)
    yield from _merged_groups(node, right, left)
    if not all(isinstance(side, exp.Select) and side.args.get("where") for side in (left, right)):
        return
    if any(side.args.get(part) for side in (left, right) for part in ("group", "limit")):
        return
    conditions = [exp.Paren(this=side.args["where"].this.copy()) for side in (left, right)]
    if _without_condition(left) != _without_condition(right):
        return
    second = conditions[1] if isinstance(node, exp.Intersect) else exp.Not(this=conditions[1])
    changed = left.copy()
    changed.args["where"].set("this", exp.And(this=conditions[0].copy(), expression=second.copy()))
    yield "one row for two", changed
    if isinstance(node, exp.Intersect):
        shown = [e.unalias().copy() for e in left.expressions]
        aliases = [item.this.alias_or_name for item in [left.args["from_"], *(left.args.get("joins") or [])]]
        rows = [_column(alias, "rowid") for alias in aliases if len(aliases) > 1]
        for counted in (exp.Star(), *(exp.Distinct(expressions=[row]) for row in rows)):
            changed = left.copy()
            changed.args["where"].set("this", exp.Or(this=conditions[0].copy(), expression=conditions[1].copy()))
            changed.set("group", exp.Group(expressions=[e.copy() for e in shown]))
            changed.set("distinct", None)
            twice = exp.GTE(this=exp.Count(this=counted), expression=exp.Literal.number(2))
            yield "one row for two", changed.having(twice, copy=False)


def _merged_groups(node: exp.Expr, short: exp.Expr, long: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    """Groups of some joined tables, met with groups of these and further ones, taken for one group."""
    sides = (short, long)
    if not (isinstance(node, exp.Intersect) and isinstance(short, exp.Select) and isinstance(long, exp.Select)):
        return
    if not all(side.args.get("having") and side.args.get("group") for side in sides):
        return
    sources, keys = zip(
        *(
            ([part.sql("sqlite").lower() for part in [side.args["from_"], *(side.args.get("joins") or [])]],
             side.args["group"].sql("sqlite").lower())
            for side in sides
        ),
        strict=True,
    )  # fmt: skip
    if keys[0] != keys[1] or len(sources[0]) >= len(sources[1]) or sources[1][: len(sources[0])] != sources[0]:
        return
    last = [short.args["from_"], *(short.args.get("joins") or [])][-1].this.alias_or_name
    condition = short.args["having"].this.copy()
    for count in list(condition.find_all(exp.Count)):
        if isinstance(count.this, exp.Star):
            count.set("this", exp.Distinct(expressions=[_column(last, "rowid")]))
    yield "one row for two", long.copy().having(condition, copy=False)


def _without_condition(select: exp.Expr) -> str:
    rest = select.copy()
    rest.set("where", None)
    return rest.sql("sqlite").lower()


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


def _column(alias: str, name: str) -> exp.Column:
    return exp.column(name, alias, quoted=True)


def _tables(select: exp.Expr, schema: Schema) -> dict[str, Table] | None:
    """The base tables of a select by alias; None where it reads anything else."""
    found: dict[str, Table] = {}
    for item in [select.args.get("from_"), *(select.args.get("joins") or [])]:
        table = schema.tables.get(item.this.name.lower()) if item and isinstance(item.this, exp.Table) else None
        if table is None or item.this.alias_or_name.lower() in found:
            return None
        found[item.this.alias_or_name.lower()] = table
    return found


def _owner(column: exp.Expr, tables: dict[str, Table]) -> str | None:
    """The alias whose column this is."""
    if not isinstance(column, exp.Column) or isinstance(column.this, exp.Star):
        return None
    if column.table:
        return column.table.lower() if column.table.lower() in tables else None
    name = column.name.lower()
    return next((alias for alias, table in tables.items() if name in map(str.lower, table.columns)), None)


def _rows(schema: Schema) -> Callable[[exp.Expr], Iterator[tuple[str, exp.Expr]]]:
    """What models take for the same: a semi-join and a join, the number of rows and of different values, a thing's key
    and its name, a table and its join to what it refers to."""

    def change(node: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
        select = node if isinstance(node, exp.Select) else node.find_ancestor(exp.Select)
        tables = _tables(select, schema) if select is not None else None
        if not tables or select is None:
            return
        if isinstance(node, exp.Count) and not isinstance(node.this, exp.Distinct):
            for column in _counted(node, select, tables):
                yield "count of different values", exp.Count(this=exp.Distinct(expressions=[column]))
            for join in select.args.get("joins") or []:
                either = join.args["on"].unnest() if join.args.get("on") else None
                if isinstance(either, exp.Or):  # a row that meets both sides is counted for each
                    sides = [exp.Paren(this=side.copy()) for side in (either.this, either.expression)]
                    yield "one row for two", exp.Sum(this=exp.Add(this=sides[0], expression=sides[1]))
            if isinstance(node.find_ancestor(exp.Ordered, exp.Query), exp.Ordered):
                yield from (("aggregate", exp.Sum(this=column)) for column in _amounts(tables))
        if isinstance(node, exp.Group):
            yield from _regrouped(node, select, tables)
        if node is not select:
            return
        shown = {_owner(e.unalias(), tables) for e in select.expressions}
        plain = not select.args.get("group") and not any(e.find(exp.AggFunc) for e in select.expressions)
        sorted_by = {_owner(c, tables) for c in (select.args.get("order") or exp.Order()).find_all(exp.Column)}
        bag = not select.args.get("distinct") and not isinstance(select.parent, (exp.SetOperation, exp.In, exp.Exists))
        if plain and bag and None not in shown and sorted_by <= shown and not _settles(shown, select, tables):
            changed = select.copy()
            keys = [_column(alias, "rowid") for alias in tables if alias in shown]
            changed.set("group", exp.Group(expressions=keys))
            yield "join multiplicity", changed
        for ordered in select.args["order"].expressions if select.args.get("order") else []:
            if _owner(ordered.this, tables):
                present = exp.Not(this=exp.Is(this=ordered.this.copy(), expression=exp.Null()))
                yield "not null", select.copy().where(present, copy=False)
        yield from _tied(select)
        yield from _joined(select, tables, schema)

    return change


def _tied(select: exp.Select) -> Iterator[tuple[str, exp.Expr]]:
    """All rows or groups with the first one's sort key, in place of the first one."""
    limit, keys = select.args.get("limit"), select.args["order"].expressions if select.args.get("order") else []
    if limit is None or limit.expression.name != "1" or select.args.get("offset") or len(keys) != 1:
        return
    first = select.copy()
    first.set("expressions", [keys[0].this.copy()])
    first.set("distinct", None)
    held = exp.EQ(this=keys[0].this.copy(), expression=exp.Subquery(this=first))
    changed = select.copy()
    changed.set("order", None)
    changed.set("limit", None)
    yield "ties", changed.having(held, copy=False) if select.args.get("group") else changed.where(held, copy=False)


def _settles(aliases: set, select: exp.Select, tables: dict[str, Table]) -> bool:
    """Whether a row of these tables has at most one partner in each other table: by its whole key."""
    settled = set(aliases)
    equalities = [e for e in select.find_all(exp.EQ) if e.find_ancestor(exp.Select) is select]
    pairs = [(e.this, e.expression) for e in equalities] + [(e.expression, e.this) for e in equalities]
    while True:
        more = {
            owner
            for near, far in pairs
            if (owner := _owner(far, tables)) is not None
            and owner not in settled
            and _owner(near, tables) in settled
            and any((far.name.lower(),) == tuple(map(str.lower, key)) for key in tables[owner].keys)
        }
        if not more:
            return settled >= set(tables)
        settled |= more


def _counted(count: exp.Count, select: exp.Select, tables: dict[str, Table]) -> Iterator[exp.Column]:
    """Columns whose different values a count of rows may be taken for; of a join also each table's rows."""
    for alias, table in tables.items() if isinstance(count.this, exp.Star) else ():
        linked = {name for link in table.foreign_keys for name in link.columns}
        free = [name for name in table.columns if name not in linked and (name,) not in table.keys]
        free.sort(key=lambda name: not any(name in key for key in table.keys))  # parts of a key first
        yield from (_column(alias, name) for name in free[:2])
    if len(tables) > 1:
        yield from (_column(alias, "rowid") for alias in tables if not _settles({alias}, select, tables))


def _amounts(tables: dict[str, Table]) -> Iterator[exp.Column]:
    """Columns of each table that a count of its rows may be taken to add up."""
    for alias, table in tables.items():
        linked = {name for link in table.foreign_keys for name in link.columns}.union(*table.keys)
        free = [n for n, column in table.columns.items() if column.kind in ("integer", "real") and n not in linked]
        yield from (_column(alias, name) for name in free[:AMOUNTS])


def _regrouped(group: exp.Group, select: exp.Select, tables: dict[str, Table]) -> Iterator[tuple[str, exp.Expr]]:
    """By a name that is shown in place of the key, by the key in place of or beside a name."""
    shown = [e.unalias() for e in select.expressions if _owner(e.unalias(), tables)]
    for position, key in enumerate(group.expressions):
        owner = _owner(key, tables)
        if owner is None:
            continue
        others = [c for c in shown if c.name.lower() != key.name.lower()]
        primary = tables[owner].primary_key
        if len(primary) == 1 and primary[0].lower() != key.name.lower():
            others.append(_column(owner, primary[0]))
        for other in others:
            changed = group.copy()
            changed.expressions[position].replace(other.copy())
            yield "regrouped", changed


def _joined(select: exp.Select, tables: dict[str, Table], schema: Schema) -> Iterator[tuple[str, exp.Expr]]:
    """A join to a table that a foreign key refers to and the query does without."""
    if any(isinstance(e.unalias(), exp.Star) for e in select.expressions):
        return
    for alias, table in tables.items():
        for link in table.foreign_keys:
            if len(link.columns) != 1 or link.parent in [other.name for other in tables.values()]:
                continue
            parent = exp.alias_(exp.Table(this=exp.to_identifier(link.parent, quoted=True)), "_parent", table=True)
            on = exp.EQ(this=_column(alias, link.columns[0]), expression=_column("_parent", link.parent_columns[0]))
            changed = select.copy()
            for column in changed.find_all(exp.Column):  # names stay unambiguous
                mine = column.find_ancestor(exp.Select) is changed and not column.table and _owner(column, tables)
                if mine:
                    column.set("table", exp.to_identifier(mine, quoted=True))
            yield "join added", changed.join(parent, on=on, copy=False)


def mutants(
    tree: exp.Expr | None, schema: Schema, strict: Schema | None = None, dialect: str = "sqlite"
) -> list[Mutant]:
    """The mutants of a gold's tree (from `aims.parse`), without repetitions, in the order of the text.

    strict: the schema of its ordinary fillings. dialect: what they are written in. Of a gold with hundreds of
    conditions some, evenly spread.
    """
    if tree is None:
        return []
    original = tree.sql(dialect)
    found: dict[str, Mutant] = {}
    changes = [_comparisons, _connectives, _aggregates, _constants, _shape, _merged, _columns(schema), _rows(schema)]
    nodes = list(enumerate(tree.walk()))
    kinds: dict[str, list[tuple[int, exp.Expr, exp.Expr]]] = {}
    for position, node in nodes[:: 1 + len(nodes) // NODES]:
        for change in changes:
            for kind, new in change(node):
                kinds.setdefault(kind, []).append((position, node, new))
    chosen = [(place, kind) for kind, places in kinds.items() for place in places[:: 1 + len(places) // OF_A_KIND]]
    for (position, node, new), kind in sorted(chosen, key=lambda made: made[0][0]):
        if node is tree:
            sql = new.sql(dialect)
        else:
            copy = tree.copy()
            _nth(copy, position).replace(new.copy())
            sql = copy.sql(dialect)
        if sql != original and sql not in found:
            rule = equivalent(kind, node, new, schema)
            ordinarily = rule or (equivalent(kind, node, new, strict) if strict else None)
            found[sql] = Mutant(kind, sql, rule, ordinarily)
    return list(found.values())


def _nth(tree: exp.Expr, position: int) -> exp.Expr:
    return next(node for number, node in enumerate(tree.walk()) if number == position)
