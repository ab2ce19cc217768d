"""Rules that prove a change to a query to be none in meaning: keys, NOT NULL foreign keys, answers of one row.

A rule may miss an equivalence; it must never claim one (a test runs what it claims on generated databases).
"""

from sqlglot import exp

from text2sql.databases.schema import Schema


def is_join_condition(node: exp.Expr) -> bool:
    return isinstance(node, exp.EQ) and isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column)


def _sources(select: exp.Expr) -> dict[str, exp.Expr]:
    items = [select.args.get("from_"), *(select.args.get("joins") or [])]
    return {item.this.alias_or_name.lower(): item.this for item in items if item is not None}


def table_of(column: exp.Column, schema: Schema) -> str | None:
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


def _one_row(select: exp.Expr) -> bool:
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
        names = names if len(_sources(select)) == 1 else set()
        return all(
            key.sql("sqlite").lower() in shown or (isinstance(key, exp.Column) and key.name.lower() in names)
            for key in group.expressions
        )
    if any(e.find(exp.AggFunc) for e in select.expressions):
        return False
    sources = _sources(select)
    if not sources or not all(isinstance(s, exp.Table) and s.name.lower() in schema.tables for s in sources.values()):
        return False
    star = any(isinstance(e.unalias(), exp.Star) for e in select.expressions)
    # Columns that two equal rows have in common: shown ones, those set to a constant, those equal to one of these.
    common = {place for e in select.expressions if (place := _of(e.unalias(), sources))}
    pairs = []
    for equality in _conjuncts(select):
        left, right = _of(equality.this, sources), _of(equality.expression, sources)
        if left and right:
            pairs.append((left, right))
        elif left and not equality.expression.find(exp.Column, exp.Query):
            common.add(left)
        elif right and not equality.this.find(exp.Column, exp.Query):
            common.add(right)
    settled: set[str] = set()  # sources whose whole row two equal rows have in common
    while True:
        before = len(common), len(settled)
        for left, right in pairs:
            if {left, right} & common or {left[0], right[0]} & settled:
                common |= {left, right}
        for alias, source in sources.items():
            table = schema.tables[source.name.lower()]
            mine = {name.lower() for name in table.columns if star} | {name for owner, name in common if owner == alias}
            keys = [key for key in table.keys if all(table.columns[name].not_null for name in key)]
            if any({name.lower() for name in key} <= mine for key in keys):
                settled.add(alias)
        if (len(common), len(settled)) == before:
            return settled == set(sources)


def _of(node: exp.Expr, sources: dict[str, exp.Expr]) -> tuple[str, str] | None:
    """(source, column) in lower case for a column whose source is plain to see."""
    if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
        return None
    if not node.table and len(sources) == 1:
        return next(iter(sources)), node.name.lower()
    return (node.table.lower(), node.name.lower()) if node.table.lower() in sources else None


def _conjuncts(select: exp.Select) -> list[exp.EQ]:
    """The equalities that every row of a select without outer joins fulfils."""
    joins = select.args.get("joins") or []
    if any(join.args.get("side") for join in joins):
        return []
    conditions = [join.args["on"] for join in joins if join.args.get("on")]
    conditions += [select.args["where"].this] if select.args.get("where") else []
    found = [
        part
        for condition in conditions
        for part in (condition.flatten() if isinstance(condition, exp.And) else [condition])
    ]
    return [part for part in found if isinstance(part, exp.EQ)]


def _always_joined(join: exp.Join, schema: Schema) -> bool:
    """A join from a NOT NULL foreign key to the key it refers to finds a partner for every row."""
    on, target = join.args.get("on"), join.this
    select = join.parent
    if not (
        isinstance(on, exp.EQ)
        and is_join_condition(on)
        and isinstance(target, exp.Table)
        and isinstance(select, exp.Select)
    ):
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
    if not table or not column or not column.not_null:
        return False
    return any(
        link.parent.lower() == target.name.lower()
        and (link.columns, tuple(c.lower() for c in link.parent_columns))
        == ((column.name,), (parents[0].name.lower(),))
        for link in table.foreign_keys
    )


def _is_scalar(select: exp.Expr) -> bool:
    """Whether a query stands where one value is asked for."""
    around = select.parent
    while isinstance(around, exp.Paren):
        around = around.parent
    return (
        isinstance(around, exp.Subquery)
        and isinstance(around.parent, exp.Binary)
        and not isinstance(around.parent, exp.SetOperation)
    )


def _rejects_null(condition: exp.Expr | None, alias: str) -> bool:
    """Whether a condition is never true for a row in which all columns of `alias` are NULL."""
    condition = condition.unnest() if condition is not None else None
    if isinstance(condition, exp.And):
        return _rejects_null(condition.this, alias) or _rejects_null(condition.expression, alias)
    if isinstance(condition, exp.Or):
        return _rejects_null(condition.this, alias) and _rejects_null(condition.expression, alias)
    if isinstance(condition, (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.Between, exp.In)):
        sides = [condition.this, condition.expression if "expression" in condition.arg_types else None]
        return any(isinstance(side, exp.Column) and side.table.lower() == alias for side in sides)
    return False


def _partner_needed(join: exp.Join) -> bool:
    """Whether rows that a LEFT JOIN would add are dropped by WHERE or by a later inner join."""
    select = join.parent
    if not isinstance(select, exp.Select):
        return False
    alias = join.this.alias_or_name.lower()
    joins = select.args.get("joins") or []
    later = joins[next(i for i, other in enumerate(joins) if other is join) + 1 :]
    if any(other.args.get("side") for other in joins):
        return False
    where = select.args.get("where")
    return _rejects_null(where and where.this, alias) or any(_rejects_null(j.args.get("on"), alias) for j in later)


def _never_null(column: exp.Expr, select: exp.Select, schema: Schema) -> bool:
    """Whether a column of the select is NOT NULL or equal to something, and no outer join adds NULLs."""
    if not isinstance(column, exp.Column) or any(join.args.get("side") for join in select.args.get("joins") or []):
        return False
    place = _of(column, _sources(select))
    source = _sources(select).get(place[0]) if place else None
    found = schema.column(source.name, column.name) if isinstance(source, exp.Table) else None
    held = any(place in (_of(side, _sources(select)) for side in (e.this, e.expression)) for e in _conjuncts(select))
    return bool(found and found.not_null) or (place is not None and held)


def equivalent(kind: str, node: exp.Expr, new: exp.Expr, schema: Schema) -> str | None:
    """The rule that proves replacing `node` by `new` to change no answer, or None."""
    select = node if isinstance(node, exp.Select) else node.find_ancestor(exp.Select)
    if kind == "distinct" and isinstance(node, exp.Select):
        if _rows_differ(node, schema):
            return "no two rows are equal"
        limit = node.args.get("limit")
        keys = node.args["order"].expressions if node.args.get("order") else []
        shown = {e.unalias().sql("sqlite").lower() for e in node.expressions}
        first = limit is not None and limit.expression.name == "1" and not node.args.get("offset")
        if first and all(key.this.sql("sqlite").lower() in shown for key in keys):
            return "the answer has one row"
        parent = node.parent
        while isinstance(parent, (exp.Paren, exp.Subquery)):
            parent = parent.parent
        if isinstance(parent, (exp.In, exp.Exists)) and not limit:
            return "IN and EXISTS ignore repetitions"
        if isinstance(parent, exp.SetOperation) and parent.args.get("distinct") and not node.args.get("limit"):
            return "the set operation removes repetitions"
    if kind in ("limit", "order direction", "order dropped") and select is not None and _one_row(select):
        return "the answer has one row"
    if kind == "limit" and node.parent is not None and _is_scalar(node.parent):
        return "only the first row is taken"
    if kind == "join kind" and isinstance(node, exp.Join) and not node.args.get("side"):
        if _always_joined(node, schema):
            return "a NOT NULL foreign key always finds its parent"
        if _partner_needed(node):
            return "a later condition drops rows without a partner"
    if kind == "ties" and isinstance(node, exp.Select) and len(_sources(node)) == 1 and not node.args.get("group"):
        key = node.args["order"].expressions[0].this
        owner = table_of(key, schema) if isinstance(key, exp.Column) else None
        sorted_by = schema.column(owner, key.name) if owner else None
        if owner and sorted_by and sorted_by.not_null and (sorted_by.name,) in schema.tables[owner.lower()].keys:
            return "no two rows tie"
    if kind == "not null" and isinstance(node, exp.Select):
        added = new.args["where"].this
        asked = (added.expression if isinstance(added, exp.And) else added).this.this
        if _never_null(asked, node, schema):
            return "the column is NOT NULL"
    if kind == "join added" and isinstance(node, exp.Select):
        on, target = new.args["joins"][-1].args["on"], new.args["joins"][-1].this
        one = (on.expression.name,) in schema.tables[target.name.lower()].keys
        if one and _never_null(on.this, node, schema):
            return "a NOT NULL foreign key always finds its one parent"
    if kind in ("aggregate", "distinct") and isinstance(node, exp.Count) and isinstance(node.this, exp.Column):
        table = table_of(node.this, schema)
        column = table and schema.column(table, node.this.name)
        outer = select is None or any(join.args.get("side") for join in select.args.get("joins") or [])
        if select and table and column and column.not_null and not outer:
            if isinstance(new.this, exp.Star):
                return "a NOT NULL column counts every row"
            if (
                isinstance(new.this, exp.Distinct)
                and len(_sources(select)) == 1
                and (column.name,) in schema.tables[table.lower()].keys
            ):
                return "a key repeats no value"
    return None
