"""A query's canonical form: equal for queries that differ only in how they are written.

Equal are: quotes around names and case of names, aliases of tables and of result columns, COUNT(1) and COUNT(*), the
order of AND, OR, =, <>, + and *, of the values of IN, `a > b` and `b < a`, INNER JOIN and JOIN, ASC and nothing,
superfluous parentheses, a table's name before a column where there is only one table. Nothing else is: two forms of
equal meaning may differ.
"""

from collections import Counter
from collections.abc import Collection, Mapping

import sqlglot
from sqlglot import exp

_SWAPPED = {exp.GT: "lt", exp.GTE: "lte"}
_EITHER_WAY = (exp.EQ, exp.NEQ, exp.Add, exp.Mul, exp.NullSafeEQ)


def canonical_form(sql: str, dialect: str, names: Collection[str]) -> str | None:
    """The canonical form of a query as a text that is only good for comparing; None where sqlglot cannot read it.

    names: the words of the schema in lower case; what is double-quoted in SQLite and none of them is a literal.
    """
    try:
        tree = sqlglot.parse_one(sql.strip().rstrip(";"), dialect=dialect)
        return _Writer(tree, names if dialect == "sqlite" else None).key(tree)
    except (sqlglot.errors.SqlglotError, RecursionError, ValueError, AttributeError, TypeError):
        return None


class _Writer:
    """Writes the key of a tree; knows what the aliases of its statement stand for."""

    def __init__(self, tree: exp.Expr, names: Collection[str] | None) -> None:
        self.names = names
        self.sources: dict[tuple[int, str], str] = {}  # a SELECT and an alias in it → the table, numbered if repeated
        tables = list(tree.find_all(exp.Table))
        times = Counter(table.name.lower() for table in tables)
        self.single = len(tables) == 1
        seen: Counter[str] = Counter()
        for table in tables:
            name = table.name.lower()
            seen[name] += 1
            new = name if times[name] == 1 else f"{name}#{seen[name]}"
            self.sources[id(table.find_ancestor(exp.Select)), table.alias_or_name.lower()] = new
        self.outputs: Mapping[str, exp.Expr] = {}  # result columns of the outermost SELECT by their aliases
        if isinstance(tree, exp.Select):
            self.outputs = {e.alias.lower(): e.this for e in tree.expressions if isinstance(e, exp.Alias)}
        self.tree = tree

    def key(self, node: object) -> str:
        match node:
            case exp.Paren():
                return self.key(node.this)
            case exp.Connector():
                return f"{node.key}({','.join(sorted(self.key(part) for part in node.flatten()))})"
            case exp.Column():
                return self.column(node)
            case exp.Table():
                return f"table({self.source(node, node.alias_or_name)})"
            case exp.Identifier():
                return node.name.lower()
            case exp.Literal():
                return f"{'s' if node.is_string else 'n'}:{node.this!r}"
            case exp.Alias() if node.parent is self.tree:
                return self.key(node.this)
            case exp.Count() if isinstance(node.this, exp.Star) or node.this.is_number:
                return "count(*)"
            case exp.GT() | exp.GTE():
                return f"{_SWAPPED[type(node)]}({self.key(node.expression)},{self.key(node.this)})"
            case exp.LT() | exp.LTE():
                return f"{node.key}({self.key(node.this)},{self.key(node.expression)})"
            case exp.In() if node.expressions:
                return f"in({self.key(node.this)},[{','.join(sorted(map(self.key, node.expressions)))}])"
            case exp.Expr() if isinstance(node, _EITHER_WAY):
                return f"{node.key}({','.join(sorted((self.key(node.this), self.key(node.expression))))})"
            case exp.Expr():
                parts = (
                    f"{name}={self.key(value)}"
                    for name, value in sorted(node.args.items())
                    if self.counts(node, name, value)
                )
                return f"{node.key}({','.join(parts)})"
            case list():
                return f"[{','.join(map(self.key, node))}]"
        return str(node)

    @staticmethod
    def counts(node: exp.Expr, name: str, value: object) -> bool:
        """Whether an argument of a node says anything."""
        if value in (None, False, [], "") or (isinstance(node, exp.Ordered) and name == "nulls_first"):
            return False
        return not (isinstance(node, exp.Join) and name == "kind" and str(value).upper() in ("INNER", "OUTER"))

    def column(self, node: exp.Column) -> str:
        name, table = node.name.lower(), node.table.lower()
        quoted = not table and isinstance(node.this, exp.Identifier) and node.this.quoted
        if quoted and self.names is not None and name not in self.names:
            return f"s:{node.name!r}"
        if not table and name in self.outputs and not node.find_ancestor(exp.Alias):
            return self.key(self.outputs[name])
        if isinstance(node.this, exp.Star):
            name = "*"
        return f"col({name})" if self.single or not table else f"col({self.source(node, table)}.{name})"

    def source(self, node: exp.Expr, alias: str) -> str:
        """The table that an alias stands for, by the nearest SELECT around that knows it."""
        select = node.find_ancestor(exp.Select)
        while select is not None:
            if (id(select), alias.lower()) in self.sources:
                return self.sources[id(select), alias.lower()]
            select = select.find_ancestor(exp.Select)
        return self.sources.get((id(None), alias.lower()), alias.lower())
