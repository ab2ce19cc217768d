"""Columns that a query with aggregates shows and does not group by: systems refuse them, SQLite takes some row's."""

from collections.abc import Iterator

from sqlglot import exp

from text2sql.sql.types import Types

_BY_KEY = {"postgres", "mysql", "redshift"}  # a table grouped by its whole primary key may show its other columns


def ungrouped(tree: exp.Expr, types: Types, dialect: str) -> exp.Column | None:
    """A column of an annotated query that its grouping leaves open; None where there is none, or it is not known."""
    found = (column for select in tree.find_all(exp.Select) for column in _of(select, types, dialect))
    return next(found, None)


def _of(select: exp.Select, types: Types, dialect: str) -> Iterator[exp.Column]:
    group, having, order = (select.args.get(key) for key in ("group", "having", "order"))
    if group is not None and any(group.args.get(key) for key in ("rollup", "cube", "grouping_sets", "totals", "all")):
        return
    shown = [*(e.unalias() for e in select.expressions), *([having.this] if having else []),
             *((o.this for o in order.expressions) if order else ())]  # fmt: skip
    if group is None and not any(_aggregates(e) for e in shown):
        return
    keys = [_key(e, select) for e in group.expressions] if group else []
    texts = {_text(e) for e in keys}
    by_source: dict[str, set[str]] = {}
    for key in keys:
        if isinstance(key, exp.Column) and "source" in key.meta:
            by_source.setdefault(key.meta["source"], set()).add(key.name.lower())
    for expression in shown:
        for column in _open(expression, texts):
            source, table = column.meta.get("source"), column.meta.get("table")
            if source is None:
                continue  # an alias, or a column of a query around this one
            whole = types.keys.get(table or "", ())
            if not (dialect in _BY_KEY and whole and by_source.get(source, set()) >= set(whole)):
                yield column


def _key(expression: exp.Expr, select: exp.Select) -> exp.Expr:
    """What a term of GROUP BY stands for: itself, a place in the list, an alias."""
    if expression.is_int and 0 < int(expression.name) <= len(select.expressions):
        return select.expressions[int(expression.name) - 1].unalias()
    if isinstance(expression, exp.Column) and "source" not in expression.meta:
        aliases = {e.alias.lower(): e.this for e in select.expressions if isinstance(e, exp.Alias)}
        return aliases.get(expression.name.lower(), expression)
    return expression


def _text(expression: exp.Expr) -> str:
    copy = expression.copy()
    for column in copy.find_all(exp.Column):
        column.set("table", None)
    while isinstance(copy, exp.Paren):
        copy = copy.this
    return copy.sql().lower().replace('"', "").replace("`", "")


def _aggregates(expression: exp.Expr) -> bool:
    """Whether an aggregate stands in an expression, outside of its subqueries and windows."""
    for node in expression.walk(prune=lambda node: isinstance(node, exp.Query)):
        if isinstance(node, exp.AggFunc) and not isinstance(_over(node), exp.Window):
            return True
    return False


def _over(node: exp.Expr) -> exp.Expr | None:
    """The window that a function runs over, if one stands around it."""
    around = node.parent
    while isinstance(around, exp.IgnoreNulls | exp.RespectNulls | exp.Filter):
        around = around.parent
    return around


def _open(expression: exp.Expr, keys: set[str]) -> Iterator[exp.Column]:
    """The columns of an expression outside of aggregates, subqueries and what is grouped by."""
    if isinstance(expression, exp.Query) or _text(expression) in keys:
        return
    aggregate = isinstance(expression, exp.AggFunc | exp.Filter | exp.WithinGroup)
    if (aggregate and not isinstance(_over(expression), exp.Window)) or isinstance(expression, exp.Anonymous):
        return  # a function without a name here may aggregate
    if isinstance(expression, exp.Column):
        if not isinstance(expression.this, exp.Star):
            yield expression
        return
    for child in expression.iter_expressions():
        yield from _open(child, keys)
