"""What a translated query shows, written so that its answer compares as on its own engine."""

from sqlglot import exp

from text2sql.sql.types import T, kind, scale


def show(tree: exp.Expr, dialect: str) -> None:
    """Writes what a query shows as answers are compared: an instant at midnight as its date, a number of single
    precision with the digits that tell it apart, a quotient of MySQL with those that it keeps (in subqueries too).
    """
    shown = {id(select) for select in _shown(tree)}
    for select in tree.find_all(exp.Select):
        selects = list(select.expressions)
        for place, projection in enumerate(selects):
            of = projection.unalias()
            written = _as_shown(of) if id(select) in shown else of
            if written is of and dialect == "mysql" and (id(select) in shown or _kept_apart(select)):
                written = _with_digits(of)
            if written is not of:
                written._type = of.type
                name = projection.output_name
                selects[place] = exp.alias_(written, name, quoted=True, copy=False) if name else written
        if selects != select.expressions:
            select.set("expressions", selects)


def _shown(tree: exp.Expr) -> list[exp.Select]:
    """The queries whose rows a query's answer is made of."""
    if isinstance(tree, exp.SetOperation):
        return _shown(tree.this) + _shown(tree.expression)
    if isinstance(tree, exp.Subquery):
        return _shown(tree.this)
    return [tree] if isinstance(tree, exp.Select) else []


def _kept_apart(select: exp.Select) -> bool:
    """Whether MySQL writes a subquery's rows down before it goes on; others it merges with the query around them."""
    if any(select.args.get(key) for key in ("group", "having", "distinct", "limit")):
        return True
    return isinstance(select.parent, exp.SetOperation) or any(
        e.find(exp.AggFunc, exp.Window) for e in select.expressions
    )


def _as_shown(of: exp.Expr) -> exp.Expr:
    if kind(of) == "t":
        midnight = exp.Literal.string(" 00:00:00")
        return exp.Replace(this=of.copy(), expression=midnight, replacement=exp.Literal.string(""))
    if of.type is not None and of.type.this is T.FLOAT and not of.find(exp.Avg, exp.Div):
        return exp.Anonymous(this="SINGLE", expressions=[of.copy()])
    return of


_SPREADS = (exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop)


def _with_digits(of: exp.Expr) -> exp.Expr:
    digits = scale(of) if kind(of) == "d" else None
    if digits is None or isinstance(of, exp.Round | exp.Cast) or not of.find(exp.Div, exp.Avg, *_SPREADS):
        return of
    return exp.Round(this=of.copy(), decimals=exp.Literal.number(digits))
