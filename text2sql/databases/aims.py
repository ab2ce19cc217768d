"""What a gold asks of the rows: its tables, what must be equal, what is compared with constants, what is grouped.

From this `populate` makes rows that a gold finds and rows that it just misses. Nothing here has to be complete: what
is not understood is left to chance and to the search over seeds.
"""

import contextlib
import sqlite3
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.databases.schema import Schema
from text2sql.databases.values import values_around, values_for_pattern, values_through_function

MANY = 120  # rows in a group, at most, that a condition on COUNT gets
Place = tuple[int, str]  # (source, column): a column of one occurrence of a table in the gold


@dataclass(frozen=True)
class Atom:
    """A condition on one column: `sql` speaks of it as `"v"`."""

    place: Place
    sql: str


@dataclass
class Uses:
    """What the way in which a gold uses a column, given as (table, column), says about the column's values.

    `missing`: the gold expects NULL, or leaves NULL out of a mean or sum. `shared`: different rows may hold the same.
    `winning`: it shows the value of groups by a key that a LIMIT picks from.
    `identifying`: it takes the value for the thing itself, grouping joined rows by it or comparing sets of it.
    `together`: (table, columns) that it shows of things which it groups by their key.
    `ranking`: it sorts by the value, and by nothing else, to take the first rows by a LIMIT; `largest`: from the top.
    """

    missing: set[tuple[str, str]] = field(default_factory=set)
    shared: set[tuple[str, str]] = field(default_factory=set)
    winning: set[tuple[str, str]] = field(default_factory=set)
    identifying: set[tuple[str, str]] = field(default_factory=set)
    together: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)
    ranking: set[tuple[str, str]] = field(default_factory=set)
    largest: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Aim:
    """One gold's wishes. `sources[i]` is the table of occurrence i.

    `conditions` is a tree: an Atom, or ("and" | "or" | "not", [trees]). `equal` must hold for a row to be found;
    `maybe_equal` are the links of NOT IN and EXCEPT, where a row is found only without them, and those of an OR.
    `fixed` are the places that stay equal in a group, `repeats` the group sizes worth making, `counts` those of them
    that a condition on a COUNT tells apart.
    """

    sources: list[str] = field(default_factory=list)
    conditions: list = field(default_factory=list)
    equal: list[tuple[Place, Place]] = field(default_factory=list)
    maybe_equal: list[tuple[Place, Place]] = field(default_factory=list)
    fixed: list[Place] = field(default_factory=list)
    projected: list[Place] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    constants: dict[tuple[str, str], list] = field(default_factory=dict)  # (table, column): values worth having
    sides: list[range] = field(default_factory=list)  # the sources of each operand of set operations
    ranked: bool = False  # its groups are sorted and the first of them taken
    numeric: set[tuple[str, str]] = field(default_factory=set)  # text columns that golds calculate with
    rows: int = 0  # that the gold needs to answer at all: its largest LIMIT and OFFSET together
    uses: Uses = field(default_factory=Uses)


def parsed(sql: str, dialect: str = "sqlite") -> exp.Expr | None:
    """A query's tree; None where sqlglot cannot read it."""
    try:
        return sqlglot.parse_one(sql, dialect=dialect)
    except (SqlglotError, RecursionError, ValueError):
        return None


def parse(sql: str, schema: Schema) -> exp.Expr | None:
    """The gold's tree with SQLite's double-quoted strings as strings; None where sqlglot cannot read it.

    SQLite takes "name" for a string when no table in the query has such a column.
    """
    tree = parsed(sql)
    if tree is None:
        return None
    names = {alias.alias.lower() for alias in tree.find_all(exp.Alias)}
    derived = tree.find(exp.Subquery, exp.CTE) is not None
    for table in tree.find_all(exp.Table):
        found = schema.tables.get(table.name.lower())
        names |= {name.lower() for name in found.columns} if found else set()
    names |= {"rowid", "oid", "_rowid_"}
    if derived:
        names |= {column.name.lower() for column in tree.find_all(exp.Column) if not column.this.args.get("quoted")}
    for column in list(tree.find_all(exp.Column)):
        name = column.this
        quoted = isinstance(name, exp.Identifier) and name.args.get("quoted") and not column.table
        if quoted and name.name.lower() not in names:
            column.replace(exp.Literal.string(name.name))
    return tree


class _Reader:
    def __init__(self, schema: Schema, connection: sqlite3.Connection) -> None:
        self.schema, self.connection, self.aim = schema, connection, Aim()

    # scopes -------------------------------------------------------------------------------------------------
    def query(self, node: exp.Expr, outer: list[dict], ctes: dict) -> list[Place | None]:
        """Reads a query; returns the places of its projections."""
        ctes = dict(ctes)
        for cte in (node.args.get("with_") or exp.With(expressions=[])).expressions:
            ctes[cte.alias.lower()] = (cte.this, [c.name for c in (cte.args["alias"].args.get("columns") or [])])
        if isinstance(node, (exp.Subquery, exp.Paren)):
            return self.query(node.this, outer, ctes)
        if isinstance(node, exp.SetOperation):
            first = len(self.aim.sources)
            left = self.query(node.this, outer, ctes)
            middle = len(self.aim.sources)
            right = self.query(node.expression, outer, ctes)
            self.aim.sides += [range(first, middle), range(middle, len(self.aim.sources))]
            links: list[tuple[Place, Place]] = [(a, b) for a, b in zip(left, right, strict=False) if a and b]
            joined = any(side.find(exp.Join, exp.In, exp.Exists) for side in (node.this, node.expression))
            said = self.aim.uses.identifying if joined else self.aim.uses.shared
            said |= {key for pair in links for key in map(self.key, pair)}
            if isinstance(node, exp.Intersect):
                self.aim.equal += links
            else:
                self.aim.maybe_equal += links
            return left
        return self.select(node, outer, ctes) if isinstance(node, exp.Select) else []

    def select(self, node: exp.Select, outer: list[dict], ctes: dict) -> list[Place | None]:
        scope: dict[str, dict[str, Place | None]] = {}
        scopes = [scope, *outer]
        joins = node.args.get("joins") or []
        for item in [node.args.get("from_"), *joins]:
            if item is not None:
                self.source(item.this, scope, outer, ctes)
        for join in joins:
            before = len(self.aim.equal)
            if join.args.get("on"):
                self.condition(join.args["on"], scopes, ctes)
            if join.args.get("side"):
                self.aim.uses.missing |= {self.key(place) for pair in self.aim.equal[before:] for place in pair}
            using = [c.name.lower() for c in join.args.get("using") or []]
            if (join.args.get("method") or "").upper() == "NATURAL":
                names = [set(columns) for columns in scope.values()]
                using = sorted(names[-1] & set().union(*names[:-1])) if len(names) > 1 else []
            for name in using:
                places = [place for columns in scope.values() if (place := columns.get(name))]
                self.aim.equal += [(places[0], other) for other in places[1:]]
        for part in ("where", "having"):
            if node.args.get(part):
                self.condition(node.args[part].this, scopes, ctes)
        group = node.args.get("group")
        projections = [self.place(e, scopes) for e in node.expressions]
        for expression in node.expressions:
            self.subqueries(expression, scopes, ctes)
            for case in expression.find_all(exp.If):
                if not case.this.find(exp.Query, exp.AggFunc):
                    self.tree(case.this, scopes, ctes, False)  # for its constants
            if isinstance(expression, exp.Star):
                projections = [place for columns in scope.values() for place in columns.values()]
        for calculating in node.find_all(exp.Sum, exp.Avg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Max, exp.Min):
            for column in calculating.find_all(exp.Column):
                if place := self.place(column, scopes):
                    self.aim.numeric.add((self.aim.sources[place[0]], place[1]))
        grouped = [place for e in group.expressions if (place := self.place(e, scopes))] if group else []
        if group:
            self.aim.ranked |= bool(node.args.get("order") and node.args.get("limit"))
            self.aim.fixed += grouped
            self.aim.repeats += [1, 2, 3]
        self.uses(node, projections, grouped, scopes)
        self.limit(node)
        if not outer:
            self.aim.projected += [place for place in projections if place]
        return projections

    def key(self, place: Place) -> tuple[str, str]:
        return self.aim.sources[place[0]], place[1]

    def uses(self, node: exp.Select, projections: list, grouped: list[Place], scopes: list[dict]) -> None:
        """Reads what a select says about the values of its columns (see `Uses`)."""
        uses = self.aim.uses
        for asking in node.find_all(exp.Is, exp.Coalesce, exp.Nullif, exp.Avg, exp.Sum):
            if asking.find_ancestor(exp.Select) is node:
                uses.missing |= {self.key(p) for c in asking.find_all(exp.Column) if (p := self.place(c, scopes))}
        keys = node.args["order"].expressions if node.args.get("order") and node.args.get("limit") else []
        if len(keys) == 1 and (place := self.place(keys[0].this, scopes)):
            uses.ranking.add(self.key(place))
            if keys[0].args.get("desc"):
                uses.largest.add(self.key(place))
        alone = not node.args.get("joins")
        shown = [place for place in projections if place]
        for count in node.find_all(exp.Count):
            if isinstance(count.this, exp.Distinct):
                uses.shared |= {self.key(p) for e in count.this.expressions if (p := self.place(e, scopes))}
        if node.args.get("distinct"):
            uses.shared |= set(map(self.key, shown))
        keyed = any(self.schema.identifies(*self.key(place)) for place in grouped)
        for source in {place[0] for place in shown} if keyed else ():
            told = sorted({name for n, name in shown if n == source})
            uses.together.add((self.aim.sources[source], tuple(told)))
        if grouped and alone:
            uses.shared |= set(map(self.key, [*shown, *grouped]))
        elif keyed and node.args.get("limit"):
            uses.winning |= set(map(self.key, [*shown, *grouped]))
        elif grouped:
            uses.identifying |= set(map(self.key, [*shown, *grouped] if keyed else grouped))

    def limit(self, node: exp.Select) -> None:
        bounds = [node.args[part].expression for part in ("limit", "offset") if node.args.get(part)]
        numbers = [int(bound.name) for bound in bounds if isinstance(bound, exp.Literal) and bound.is_int]
        if node.args.get("offset") and sum(numbers) < MANY:
            self.aim.rows = max(self.aim.rows, sum(numbers))
            self.aim.repeats += [sum(numbers) + 1]

    def source(self, node: exp.Expr, scope: dict, outer: list[dict], ctes: dict) -> None:
        name = (node.alias_or_name or f"#{len(scope)}").lower()
        if isinstance(node, exp.Table):
            table = self.schema.tables.get(node.name.lower())
            if node.name.lower() in ctes:
                query, columns = ctes[node.name.lower()]
                rest = {key: value for key, value in ctes.items() if key != node.name.lower()}
                scope[name] = self.derived(query, self.query(query, outer, rest), columns)
            elif table:
                self.aim.sources.append(table.name)
                index = len(self.aim.sources) - 1
                scope[name] = {column.lower(): (index, column) for column in table.columns}
        elif isinstance(node, exp.Subquery):
            scope[name] = self.derived(node.this, self.query(node.this, outer, ctes), [])

    def derived(self, query: exp.Query, places: list, columns: list[str]) -> dict[str, Place | None]:
        names = columns or query.named_selects
        return {name.lower(): place for name, place in zip(names, places, strict=False)}

    def place(self, node: exp.Expr, scopes: list[dict]) -> Place | None:
        node = node.unalias().unnest()
        if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
            return None
        name = node.name.lower()
        for scope in scopes:
            if node.table:
                if node.table.lower() in scope:
                    return scope[node.table.lower()].get(name)
            else:
                for columns in scope.values():
                    if name in columns:
                        return columns[name]
        return None

    # conditions ---------------------------------------------------------------------------------------------
    def condition(self, node: exp.Expr, scopes: list[dict], ctes: dict) -> None:
        tree = self.tree(node, scopes, ctes, True)
        if tree is not None:
            self.aim.conditions.append(tree)

    def tree(self, node: exp.Expr, scopes: list[dict], ctes: dict, wanted: bool):
        if isinstance(node, exp.Paren):
            return self.tree(node.this, scopes, ctes, wanted)
        if isinstance(node, (exp.And, exp.Or)):
            parts = [self.tree(side, scopes, ctes, wanted) for side in (node.this, node.expression)]
            parts = [part for part in parts if part is not None]
            return (node.key, parts) if parts else None
        if isinstance(node, exp.Not) and not isinstance(node.this, exp.Is):
            inner = node.this.unnest()
            if isinstance(inner, (exp.In, exp.Exists)) and inner.find(exp.Query):
                self.link(inner, scopes, ctes, not wanted)
                return None
            part = self.tree(inner, scopes, ctes, not wanted)
            return ("not", [part]) if part is not None else None
        if isinstance(node, (exp.In, exp.Exists)) and node.find(exp.Query):
            self.link(node, scopes, ctes, wanted)
            return None
        if node.find(exp.Query):
            self.subqueries(node, scopes, ctes)
            if isinstance(node, exp.EQ):
                sides = [self.place(side, scopes) for side in (node.this, node.expression)]
                inner = [s for s in (node.this.unnest(), node.expression.unnest()) if isinstance(s, exp.Select)]
                if any(sides) and inner and inner[0].expressions:
                    outer_place = next(s for s in sides if s)
                    self.aim.equal += [(outer_place, place) for place in self.last[:1] if place]
            return None
        return self.comparison(node, scopes, wanted)

    def comparison(self, node: exp.Expr, scopes: list[dict], wanted: bool):
        if isinstance(node, exp.EQ) and wanted:
            left, right = self.place(node.this, scopes), self.place(node.expression, scopes)
            if left and right:
                either = isinstance(node.find_ancestor(exp.Or, exp.Query), exp.Or)
                (self.aim.maybe_equal if either else self.aim.equal).append((left, right))
                return None
        if node.find(exp.AggFunc):
            self.aggregate(node, scopes)
            return None
        columns = list(node.find_all(exp.Column))
        places = [self.place(column, scopes) for column in columns]
        known = list(dict.fromkeys(place for place in places if place))
        wrapped = any(not isinstance(c.parent, (exp.Predicate, exp.Paren, exp.Between, exp.In)) for c in columns)
        for place in known:
            self.remember(place, node, wrapped or len(known) > 1)
        if len(known) != 1 or None in places:
            return None
        copy = node.copy()
        for column in list(copy.find_all(exp.Column)):
            column.replace(exp.column("v", quoted=True)) if column is not copy else None
        return Atom(known[0], copy.sql("sqlite"))

    def remember(self, place: Place, node: exp.Expr, wrapped: bool) -> None:
        key = (self.aim.sources[place[0]], place[1])
        column = self.schema.column(*key)
        values = self.aim.constants.setdefault(key, [])
        for constant in self.constants(node):
            if isinstance(node, (exp.Like, exp.ILike)) and isinstance(constant, str):
                values += values_for_pattern(constant)
            elif isinstance(node, exp.Glob) and isinstance(constant, str):
                values += values_for_pattern(constant, "*", "?")
            else:
                values += values_around(constant)
            if wrapped and column:
                values += values_through_function(constant, column.kind)
            if isinstance(constant, (int, float)):
                self.aim.numeric.add(key)

    def constants(self, node: exp.Expr) -> list:
        """The constants in a condition; expressions of constants alone are calculated."""
        if isinstance(node, exp.Literal) or not node.find(exp.Column, exp.Query, exp.AggFunc):
            if isinstance(node, (exp.Literal, exp.Boolean, exp.Neg, exp.Func, exp.Binary, exp.Cast, exp.Paren)):
                try:
                    return [self.connection.execute(f"SELECT {node.sql('sqlite')}").fetchone()[0]]
                except sqlite3.Error:
                    return [node.name] if isinstance(node, exp.Literal) else []
            if isinstance(node, (exp.Var, exp.Identifier, exp.DataType)):
                return []
        found = []
        for child in node.iter_expressions():
            if not isinstance(child, exp.Query):
                found += self.constants(child)
        return found

    def aggregate(self, node: exp.Expr, scopes: list[dict]) -> None:
        """HAVING: group sizes for COUNT, magnitudes for the rest."""
        constants = [c for c in self.constants(node) if isinstance(c, (int, float))]
        for function in node.find_all(exp.AggFunc):
            place = self.place(function.this, scopes) if function.this is not None else None
            if isinstance(function, exp.Count):
                for constant in constants:
                    near = [int(constant) - 1, int(constant), int(constant) + 1]
                    self.aim.counts += [n for n in near if 0 < n <= MANY and n not in self.aim.counts]
                self.aim.repeats += self.aim.counts
            elif place:
                values = self.aim.constants.setdefault((self.aim.sources[place[0]], place[1]), [])
                for constant in constants:
                    values += [*values_around(constant), constant * 2, constant / 2]
                    column = self.schema.column(self.aim.sources[place[0]], place[1])
                    if column and column.kind == "real":  # where rounding makes a difference
                        values += [constant - 0.3, constant + 0.3]

    def link(self, node: exp.Expr, scopes: list[dict], ctes: dict, wanted: bool) -> None:
        """[NOT] IN and [NOT] EXISTS over a query."""
        query = node.args.get("query") if isinstance(node, exp.In) else node.this
        if query is None:
            return
        before = len(self.aim.equal)
        inner = self.query(query.unnest(), scopes, ctes)
        if isinstance(node, exp.In):
            sides = node.this.expressions if isinstance(node.this, exp.Tuple) else [node.this]
            for side, place in zip(sides, inner, strict=False):
                if (left := self.place(side, scopes)) and place:
                    self.aim.equal.append((left, place))
        if not wanted:  # only the links to the outer query forbid; the inner query's own joins must hold
            outer = {place[0] for scope in scopes for columns in scope.values() for place in columns.values() if place}
            links = self.aim.equal[before:]
            crossing = [pair for pair in links if (pair[0][0] in outer) != (pair[1][0] in outer)]
            self.aim.equal[before:] = [pair for pair in links if pair not in crossing]
            self.aim.maybe_equal += crossing

    def subqueries(self, node: exp.Expr, scopes: list[dict], ctes: dict) -> None:
        self.last: list = []
        for query in node.find_all(exp.Query):
            if query.parent_select is None or query.find_ancestor(exp.Query) is node.find_ancestor(exp.Query):
                self.last = self.query(query, scopes, ctes)


def read_aim(tree: exp.Expr | None, schema: Schema, connection: sqlite3.Connection) -> Aim:
    """What the gold asks of the rows; an empty Aim where it cannot be read.

    `connection` calculates constant expressions; it must be one of the sandbox's.
    """
    reader = _Reader(schema, connection)
    if tree is not None:
        # A construct not thought of: what was read up to there still helps.
        with contextlib.suppress(RecursionError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError):
            reader.query(tree, [], {})
    return reader.aim


def read_checks(schema: Schema, connection: sqlite3.Connection) -> list[Aim]:
    """The CHECK constraints of each table as an Aim with one source, in the order of the tables."""
    checks = []
    for table, sql in zip(schema.tables.values(), schema.before, strict=True):
        reader = _Reader(schema, connection)
        reader.aim.sources.append(table.name)
        scope: dict[str, dict] = {table.name.lower(): {name.lower(): (0, name) for name in table.columns}}
        try:
            for check in sqlglot.parse_one(sql, dialect="sqlite").find_all(exp.CheckColumnConstraint):
                reader.condition(check.this, [scope], {})
        except (SqlglotError, RecursionError, AttributeError, LookupError, TypeError, ValueError):
            pass  # SQLite refuses what does not hold, whether or not it was foreseen
        checks.append(reader.aim)
    return checks
