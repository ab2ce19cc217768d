"""Why a query's answer is wrong: where its syntax tree differs from the gold's, as causes that a reader knows.

Each query is taken apart into what it says, whatever its aliases, its order of conditions and its nesting: tables,
joins, shown columns, predicates, aggregates, group keys, sort keys. What only one of the two says is a difference, and
the part of the query that it belongs to is its cause. Two predicates that differ in one place are taken as one that was
changed, so that a wrong literal is told from a missing condition.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from sqlglot import exp

from text2sql.sql.exact_match import syntax_tree

# From what decides most to what decides least. The first difference in this order is the one that a failure is counted
# under: a wrong table brings wrong columns with it, and how a query is nested often makes no difference.
CAUSES = (
    "table", "join", "aggregate", "column", "literal", "set operation", "grouping", "condition", "order or limit",
    "distinct", "expression", "nesting",
)  # fmt: skip
UNPARSED = "not parsed"  # sqlglot cannot read one of the two, or it is no query
NONE = "none found"  # the trees say the same; what tells the answers apart is not among the causes


class Predicate(NamedTuple):
    """A condition taken apart: what is compared, through which functions, how, and with which values."""

    operator: str
    columns: tuple[str, ...]
    aggregates: tuple[str, ...]
    distinct: tuple[str, ...]  # aggregates of different values
    functions: tuple[str, ...]
    literals: tuple[str, ...]


# How two predicates may differ and be one that was changed: the fields that may differ, and the cause; the first that
# fits is taken.
CHANGED = (
    ({"literals"}, "literal"),
    ({"operator", "literals"}, "condition"),
    ({"columns"}, "column"),
    ({"distinct"}, "distinct"),
    ({"functions"}, "expression"),
    ({"aggregates", "distinct", "functions", "columns"}, "aggregate"),
)


class Parts(NamedTuple):
    """What a query says."""

    said: Counter[tuple[str, str]]  # (cause, what) of everything but predicates
    predicates: Counter[Predicate]
    tables: Counter[str]  # with how often each is read
    width: int | None  # how many columns the result has; None where a star stands for some


def causes(gold: str, predicted: str, dialect: str | None = None) -> list[str]:
    """The causes by which two queries differ, in the order of CAUSES; UNPARSED or NONE alone where there are none.

    What seldom matters (`COUNT(id)` in place of `COUNT(*)`, which table a column's name is qualified by) is a
    difference only where there is no other.
    """
    for strict in (False, True):
        right, wrong = parts_of(gold, dialect, strict), parts_of(predicted, dialect, strict)
        if right is None or wrong is None:
            return [UNPARSED]
        found = differences(right, wrong, strict)
        if right.width and wrong.width and right.width != wrong.width:
            return ["column", *sorted(found - {"column"}, key=CAUSES.index)]  # that alone makes it wrong
        if found:
            return sorted(found, key=CAUSES.index)
    return [NONE]


def differences(gold: Parts, predicted: Parts, strict: bool) -> set[str]:
    """The causes of what only one of two queries says."""
    missing, added = gold.said - predicted.said, predicted.said - gold.said
    found = {cause for cause, what in (missing | added) if not turned(cause, what, missing, added)}
    if "table" in found:  # one in another's place, which is joined otherwise; or one more or less, which is a join
        found -= {"table", "join"}
        found.add("table" if gold.tables - predicted.tables and predicted.tables - gold.tables else "join")
    keys, lacking = ([what for cause, what in side if cause == "grouping"] for side in (gold.said, missing))
    if keys and not lacking and not strict:
        found.discard("grouping")  # by more keys: those that are shown, as other dialects demand it
    left = list((gold.predicates - predicted.predicates).elements())
    right = list((predicted.predicates - gold.predicates).elements())
    return found | changed_predicates(left, right)


def turned(cause: str, what: str, *sides: Counter[tuple[str, str]]) -> bool:
    """Whether a link to other rows (IN, a join) is the negation of one that the other query has (NOT IN)."""
    return cause == "join" and any(("condition", f"not {what}") in side for side in sides)


def changed_predicates(left: list[Predicate], right: list[Predicate]) -> set[str]:
    """The causes of predicates that the other query lacks: changed ones are paired off, the rest are conditions."""
    found: set[str] = set()
    for fields, cause in CHANGED:
        blank: dict[str, Any] = {field: () for field in fields}
        for one in list(left):
            other = next((other for other in right if other._replace(**blank) == one._replace(**blank)), None)
            if other is not None:
                left.remove(one)
                right.remove(other)
                found.add(cause)
    return found | ({"condition"} if left or right else set())


@lru_cache(maxsize=256)  # a gold has many predictions
def parts_of(sql: str, dialect: str | None, strict: bool) -> Parts | None:
    """A query taken apart; None where it is not parsed. strict: with what seldom matters, each part as often as it is
    said."""
    tree = syntax_tree(sql, dialect)
    if not isinstance(tree, exp.Query):
        return None
    read = list(_Reader(tree, strict).read())
    counted = Counter(read if strict else dict.fromkeys(read, 1))
    return Parts(
        Counter({part: times for part, times in counted.items() if not isinstance(part, Predicate)}),
        Counter({part: times for part, times in counted.items() if isinstance(part, Predicate)}),
        Counter(part[1] for part in read if not isinstance(part, Predicate) and part[0] == "table"),
        width(tree),
    )


def width(query: exp.Expr) -> int | None:
    """How many columns a query's result has; None where a star stands for some."""
    shown = _leftmost(query).expressions
    return None if any(column.is_star for column in shown) else len(shown)


Part = tuple[str, str] | Predicate


class _Reader:
    """Reads the parts of one query; knows which tables are its own WITH's and what its tables' aliases stand for."""

    def __init__(self, tree: exp.Expr, strict: bool) -> None:
        self.strict = strict
        self.nodes = list(tree.walk())
        self.ctes = {node.alias.lower() for node in self.nodes if isinstance(node, exp.CTE)}
        tables = (node for node in self.nodes if isinstance(node, exp.Table))
        self.aliases = {table.alias_or_name.lower(): table.name.lower() for table in tables}

    def read(self) -> Iterator[Part]:
        for node in self.nodes:
            match node:
                case exp.Table() if node.name.lower() not in self.ctes:
                    yield "table", node.name.lower()
                case exp.SetOperation():
                    distinct = node.args.get("distinct") or not isinstance(node, exp.Union)
                    yield "set operation", node.key if distinct else f"{node.key} all"
                    yield from self.ordered(node)
                case exp.Join():
                    yield from self.joined(node)
                case exp.Select():
                    yield from self.selected(node)

    def selected(self, select: exp.Select) -> Iterator[Part]:
        inner = _place(select)
        if inner:
            yield "nesting", inner
        if select.args.get("distinct") and inner not in ("in", "exists", "set operation"):
            yield "distinct", "select"
        for shown in select.expressions if inner not in ("exists", "value") else ():
            if inner not in ("in", "from", "with") or not isinstance(shown.unalias(), (exp.Column, exp.Star)):
                yield from self.shown(shown.unalias())  # the others are handed on, not shown
        if inner is None:
            names = Counter(self.key(shown.unalias()) for shown in select.expressions)
            yield from (("column", f"{name} again") for name, times in names.items() if times > 1)
        for clause in ("where", "having"):
            if node := select.args.get(clause):
                yield from self.condition(_resolved(node.this, select))
        group = select.args.get("group")
        for key in group.expressions if group else ():
            yield "grouping", self.key(_resolved(key, select))
        yield from self.ordered(select)

    def shown(self, expression: exp.Expr) -> Iterator[tuple[str, str]]:
        """A shown expression: its columns, aggregates, and what else is done with them."""
        for node in _own(expression):
            match node:
                case exp.Column() | exp.Star() if not self.counted(node):
                    yield "column", self.column(node)
                case exp.AggFunc():
                    yield "aggregate", self.aggregate(node)
                case exp.Distinct():
                    yield "distinct", "aggregate"
                case exp.Literal() if not isinstance(expression, exp.Literal):
                    yield "expression", node.name
                case exp.Func() | exp.Binary() | exp.Window() | exp.Collate() | exp.Literal():
                    yield "expression", _name(node)

    def given(self, query: exp.Expr) -> Iterator[tuple[str, str]]:
        """What a query in a condition shows."""
        select = query.find(exp.Select)
        for shown in select.expressions if select is not None else ():
            yield from self.shown(shown.unalias())

    def joined(self, join: exp.Join) -> Iterator[Part]:
        kind = f"{join.args.get('method') or ''} {join.args.get('side') or ''}".strip().lower()
        if kind:
            yield "join", kind
        for column in join.args.get("using") or ():
            yield "join", self.link(column, column)
        if join.args.get("on"):
            yield from self.condition(join.args["on"])

    def ordered(self, query: exp.Expr) -> Iterator[Part]:
        order = query.args.get("order")
        for key in order.expressions if order else ():
            direction = "down" if key.args.get("desc") else "up"
            yield "order or limit", f"{self.key(_resolved(key.this, query))} {direction}"
        for clause in ("limit", "offset"):
            if node := query.args.get(clause):
                yield "order or limit", f"{clause} {node.expression.sql() if node.expression else ''}"

    def condition(self, node: exp.Expr, negated: bool = False) -> Iterator[Part]:
        """A condition's predicates, and how they are connected."""
        match node:
            case exp.Paren():
                yield from self.condition(node.this, negated)
            case exp.Connector():
                yield from self.condition(node.this)
                yield from self.condition(node.expression)
                if negated or isinstance(node, exp.Or):
                    yield "condition", f"{'not ' if negated else ''}{node.key}"
            case exp.Not():
                yield from self.condition(node.this, not negated)
            case exp.Exists():
                yield "condition", "absent" if negated else "present"
            case exp.In() if node.args.get("query"):
                shown = node.args["query"].find(exp.Select)
                if shown is not None and len(shown.expressions) == 1:
                    link = self.link(node.this, shown.expressions[0].unalias())
                    yield ("condition", f"not {link}") if negated else ("join", link)
            case exp.In():
                for value in node.expressions:  # as x = 1 OR x = 2
                    yield self.predicate(exp.NEQ if negated else exp.EQ, node.this, value)
                yield from [("condition", "or")] * (len(node.expressions) - 1)
            case exp.Between():
                for operator, bound in ((exp.GTE, "low"), (exp.LTE, "high")):
                    yield self.predicate(operator, node.this, node.args[bound], negated=negated)
            case exp.EQ() if not negated and all(self.names(side) for side in (node.this, node.expression)):
                yield "join", self.link(node.this, node.expression)
            case exp.Binary():
                yield self.predicate(type(node), node.this, node.expression, negated=negated)
            case _:
                yield self.predicate(type(node), node, negated=negated)

    def predicate(self, operator: type[exp.Expr], *sides: exp.Expr, negated: bool = False) -> Predicate:
        if operator in TURNED and len(sides) == 2 and isinstance(sides[0], exp.Literal):
            operator, sides = TURNED[operator], sides[::-1]
        if negated and operator in OPPOSITE:
            operator, negated = OPPOSITE[operator], False
        columns: list[str] = []
        aggregates: list[str] = []
        distinct: list[str] = []
        functions: list[str] = []
        literals: list[str] = []
        for place, side in enumerate(sides):
            for node in _own(side):
                match node:
                    case exp.Column() if place and _quoted(node) and not _quoted(sides[0]):
                        literals.append(node.name)
                    case exp.Column() | exp.Star() if not self.counted(node):
                        columns.append(self.column(node))
                    case exp.AggFunc():
                        aggregates.append(self.aggregate(node))
                    case exp.Distinct():
                        distinct.append("distinct")
                    case exp.Literal() | exp.Boolean() | exp.Null():
                        literals.append(_value(node))
                    case exp.Query():  # what it gives is what is compared with
                        functions.append("query")
                        for part in self.given(node):
                            own = {"column": columns, "aggregate": aggregates, "distinct": distinct}
                            own.get(part[0], functions).append(part[1])
                    case exp.Func() | exp.Binary() | exp.Collate() if node is not side or len(sides) > 1:
                        functions.append(_name(node))
        parts = (tuple(sorted(found)) for found in (columns, aggregates, distinct, functions, literals))
        return Predicate(f"{'not ' if negated else ''}{operator.key}", *parts)

    def key(self, node: exp.Expr) -> str:
        """A group's or a sort key's text."""
        parts = (part for part in _own(node) if not isinstance(part, (exp.Identifier, exp.Paren)))
        return " ".join(self.word(part) for part in parts if not self.counted(part))

    def word(self, node: exp.Expr) -> str:
        match node:
            case exp.Column() | exp.Star():
                return self.column(node)
            case exp.AggFunc():
                return self.aggregate(node)
            case exp.Literal():
                return _value(node)
        return node.key

    def counted(self, node: exp.Expr) -> bool:
        """Whether this is what COUNT counts, where that seldom matters."""
        above = node.parent.parent if isinstance(node.parent, exp.Distinct) else node.parent
        return isinstance(above, exp.Count) and isinstance(node, (exp.Column, exp.Star)) and not self.strict

    def aggregate(self, node: exp.Expr) -> str:
        rows = self.strict and isinstance(node, exp.Count) and isinstance(node.this, (exp.Star, exp.Literal))
        return "count(*)" if rows else _name(node)

    def names(self, node: exp.Expr) -> bool:
        return isinstance(node, exp.Column) and not (_quoted(node) and not node.table)

    def link(self, one: exp.Expr, other: exp.Expr) -> str:
        return " = ".join(sorted(map(self.key, (one, other))))

    def column(self, node: exp.Expr) -> str:
        """A column by its name, in strict reading with its table where that is said."""
        name = "*" if isinstance(node, exp.Star) or isinstance(node.this, exp.Star) else node.name.lower()
        table = node.text("table").lower()
        qualified = self.strict and table and len(self.aliases) > 1
        return f"{self.aliases.get(table, table)}.{name}" if qualified else name


TURNED = {exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE, exp.EQ: exp.EQ, exp.NEQ: exp.NEQ}
OPPOSITE = {exp.EQ: exp.NEQ, exp.NEQ: exp.EQ, exp.GT: exp.LTE, exp.LTE: exp.GT, exp.LT: exp.GTE, exp.GTE: exp.LT}


def _own(node: exp.Expr) -> Iterator[exp.Expr]:
    """The nodes of an expression without those of queries in it; the query itself is one of them."""
    return node.walk(prune=lambda found: isinstance(found, exp.Query))


def _leftmost(query: exp.Expr) -> exp.Expr:
    """The SELECT that gives a set operation its columns."""
    while isinstance(query, (exp.SetOperation, exp.Subquery, exp.Paren)):
        query = query.this
    return query


def _place(select: exp.Expr) -> str | None:
    """Where a query stands: None for the statement itself; of a set operation's, the first stands for all."""
    above = select.parent
    while isinstance(above, (exp.Subquery, exp.Paren)) and not isinstance(above.parent, (exp.From, exp.Join)):
        above = above.parent
    match above:
        case None:
            return None
        case exp.SetOperation():
            outer = _place(above)
            return "set operation" if outer is None and select is not _leftmost(above) else outer
        case exp.In():
            return "in"
        case exp.Exists():
            return "exists"
        case exp.Subquery():
            return "from"
        case exp.CTE():
            return "with"
    return "value"


def _resolved(node: exp.Expr, query: exp.Expr) -> exp.Expr:
    """An expression for which a shown one is named, by its alias or, of a key, its place."""
    if not isinstance(query, exp.Select):
        return node
    if isinstance(node, exp.Literal) and node.is_int and 0 < int(node.name) <= len(query.expressions):
        return query.expressions[int(node.name) - 1].unalias()
    named = {shown.alias.lower(): shown.this for shown in query.expressions if isinstance(shown, exp.Alias)}
    if isinstance(node, exp.Column) and not node.table and node.name.lower() in named:
        return named[node.name.lower()]
    return node


def _quoted(node: exp.Expr) -> bool:
    """Whether a name stands in double quotes, which SQLite reads as a text where there is no such column."""
    return isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier) and bool(node.this.args.get("quoted"))


def _value(node: exp.Expr) -> str:
    if isinstance(node, exp.Literal) and not node.is_string:
        try:
            return repr(float(node.name))
        except ValueError:
            return node.name
    return node.name or node.key


def _name(node: exp.Expr) -> str:
    return node.name.lower() if isinstance(node, exp.Anonymous) else node.key
