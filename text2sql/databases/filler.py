"""Fills one database with rows that honour its constraints: rows that golds find, near misses, and plain ones.

SQLite itself holds PRIMARY KEY, UNIQUE, NOT NULL and CHECK: a row that it refuses is drawn again. Foreign keys are
held here: a child takes the key of a row that exists, or its parent is made first.
"""

import random
import re
import sqlite3

from text2sql.databases.aims import MANY, Aim, Atom, Place, read_checks
from text2sql.databases.schema import ForeignKey, Schema, Table, opened
from text2sql.databases.values import (
    as_kind,
    fresh_value,
    is_date,
    is_number,
    later_instant,
    number_in,
    plain_values,
    values_around,
)
from text2sql.databases.words import words_for
from text2sql.sql.spelling import Value, literal, quoted

ROWS = 30  # rows a table, about; more only where a gold counts groups that are larger
TRIES = 8  # times a row is drawn again when a constraint refuses it
DEPTH = 12  # parents of parents that are made for one row
_HANGUL = re.compile("[\uac00-\ud7a3]")
_YEAR = re.compile(r"(^|_)year$|(연도|년도)$", re.IGNORECASE)


def _conjunction(trees: list) -> list[Atom]:
    """The atoms that must all hold."""
    found: list[Atom] = []
    for tree in trees:
        if isinstance(tree, Atom):
            found.append(tree)
        elif tree[0] == "and":
            found += _conjunction(tree[1])
    return found


class Pools:
    """The values each column may take, and which of them satisfy a gold's condition; shared by all fillings."""

    def __init__(self, schema: Schema, aims: list[Aim]) -> None:
        self.schema = schema
        texts = [value for aim in aims for values in aim.constants.values() for value in values]
        self.korean = any(_HANGUL.search(str(text)) for text in (*schema.before, *texts))
        self._scratch = sqlite3.connect(":memory:")
        checks = read_checks(schema, self._scratch)
        self.checks: dict[tuple[str, str], list[Atom]] = {}
        for check in checks:
            for atom in _conjunction(check.conditions):
                self.checks.setdefault((check.sources[0], atom.place[1]), []).append(atom)
        aims = aims + checks
        self.kinds: dict[tuple[str, str], str] = {}
        self.aimed: dict[tuple[str, str], list[Value]] = {}
        self._split: dict[tuple[Atom, str], tuple[list[Value], list[Value]]] = {}
        self.spans: dict[tuple[str, str], list[float]] = {}  # numbers that dates are compared with through functions
        group_of = self._groups(aims)
        constants: dict[tuple[str, str], list[Value]] = {}
        for aim in aims:
            for key, values in aim.constants.items():
                constants.setdefault(group_of.get(key, key), []).extend(values)
        numeric = set().union(*(aim.numeric for aim in aims)) if aims else set()
        self.group = {}
        for table in schema.tables.values():
            for name, column in table.columns.items():
                key = (table.name, name)
                self.group[key] = group_of.get(key, key)
                values = [*constants.get(self.group[key], []), *schema.rows.get(key, [])[:10]]
                linked = any(name in key for key in table.keys) or any(name in k.columns for k in table.foreign_keys)
                untyped = not column.type and key in numeric and not any(isinstance(value, str) for value in values)
                kind = "integer" if untyped or (linked and column.kind == "real") else column.kind
                self.kinds[key] = self._kind(kind, values, key in numeric, name)
                if self.kinds[key] in ("date", "datetime", "time"):
                    self.spans[key] = [n for value in values if (n := number_in(value)) is not None]
                    values = [value for value in values if not is_number(value)]
                if self.kinds[key] in ("text", "numeric text"):  # where 9 is more than 10, and 999 less than 9990
                    numbers = [value for value in values if isinstance(value, (int, float))]
                    values = values + [near for number in numbers for near in values_around(str(number))]
                typed = [as_kind(value, self.kinds[key]) for value in values if value is not None]
                typed = self.allowed(key, typed)
                self.aimed[key] = list({(type(value), value): value for value in typed}.values())

    def _groups(self, aims: list[Aim]) -> dict:
        """One representative for all columns that foreign keys or golds set equal."""
        parent: dict = {}

        def root(key):
            while parent.get(key, key) != key:
                key = parent[key]
            return key

        for table in self.schema.tables.values():
            for link in table.foreign_keys:
                for child, key in zip(link.columns, link.parent_columns, strict=True):
                    parent[root((table.name, child))] = root((link.parent, key))
        for aim in aims:
            for a, b in aim.equal + aim.maybe_equal:
                parent[root((aim.sources[a[0]], a[1]))] = root((aim.sources[b[0]], b[1]))
        return {key: root(key) for key in list(parent)}

    @staticmethod
    def _kind(kind: str, values: list[Value], numeric: bool, name: str) -> str:
        texts = [value for value in values if isinstance(value, str)]
        if kind == "boolean" and texts:
            return "text"
        if kind == "text":
            if texts and sum(map(is_date, texts)) * 2 > len(texts):
                return "date"
            if numeric and all(is_number(value) for value in values):
                return "numeric text"
            if not values and "date" in name.lower():
                return "date"
        return kind

    def allowed(self, key: tuple[str, str], values: list[Value]) -> list[Value]:
        """The values that the column's CHECK constraints let in."""
        for atom in self.checks.get(key, []):
            values = [
                value for value, truth in zip(values, self._truths(atom, key[0], values), strict=True) if truth != 0
            ]
        return values

    def plain(self, key: tuple[str, str], rng: random.Random, size: int) -> list[Value]:
        """Ordinary values for the column; what CHECK leaves of them, or else of the aimed ones."""
        kind = "year" if self.kinds[key] == "integer" and _YEAR.search(key[1]) else self.kinds[key]
        values = list(plain_values(kind, rng, size, words_for(*key, self.korean)))
        return self.allowed(key, values) or self.aimed[key] or values

    def _truths(self, atom: Atom, table: str, values: list[Value]) -> list:
        """What the atom says of each value, kept as the atom's column keeps it; None for all where it cannot be run."""
        scratch, column = self._scratch, self.schema.tables[table.lower()].columns[atom.place[1]]
        try:
            scratch.execute(f'CREATE TABLE s ("v" {column.type}, n)')
            scratch.executemany("INSERT INTO s VALUES (?, ?)", [(value, n) for n, value in enumerate(values)])
            return [truth for (truth,) in scratch.execute(f"SELECT ({atom.sql}) FROM s ORDER BY n")]
        except (sqlite3.Error, OverflowError):
            return [None] * len(values)
        finally:
            scratch.execute("DROP TABLE IF EXISTS s")

    def split(self, atom: Atom, table: str) -> tuple[list[Value], list[Value]]:
        """The column's aimed values that satisfy the atom, and those that do not (NULL among them)."""
        if (atom, table) not in self._split:
            key = (table, atom.place[1])
            values = [
                *self.aimed[key],
                *self.plain(key, random.Random(0), 6),
                None,
            ]
            truths = self._truths(atom, table, values)
            pairs = list(zip(values, truths, strict=True))
            self._split[atom, table] = ([v for v, truth in pairs if truth], [v for v, truth in pairs if not truth])
        return self._split[atom, table]


class Filler:
    """One filling in the making. `rows[table]` are the rows so far, as dicts."""

    def __init__(self, schema: Schema, pools: Pools, rng: random.Random, gaps: bool = True) -> None:
        """gaps: whether a table may stay empty."""
        self.schema, self.pools, self.rng = schema, pools, rng
        self.rows: dict[str, list[dict[str, Value]]] = {table.name: [] for table in schema.tables.values()}
        self.pending: list[tuple[Table, dict[str, Value]]] = []
        self.taken: dict[tuple[str, tuple[str, ...]], set[tuple]] = {
            (table.name, key): set() for table in schema.tables.values() for key in table.keys
        }
        self.counter = rng.randrange(1, 50)
        self.cap = ROWS
        self.few: dict[str, int] = {}  # tables that have no more than so many rows
        parents = {link.parent for table in schema.tables.values() for link in table.foreign_keys}
        leaves = [name for name in self.rows if name not in parents]
        self.empty = {rng.choice(leaves)} if gaps and leaves and len(self.rows) > 1 and rng.random() < 0.15 else set()
        self.level: set[tuple[str, str]] = set()  # columns that hold one value only
        self.connection = opened(";\n".join(schema.before))
        self.connection.set_authorizer(None)
        self.connection.execute("PRAGMA query_only = 0")
        self.connection.set_progress_handler(None, 0)
        self.connection.execute("BEGIN")
        self._hold_undeclared_keys()
        self._styles()

    def _hold_undeclared_keys(self) -> None:
        for number, (table, key) in enumerate(self.schema.undeclared):
            columns = ", ".join(map(quoted, key))
            self.connection.execute(
                f"CREATE UNIQUE INDEX {quoted(f'undeclared key {number}')} ON {quoted(table)} ({columns})"
            )

    def _styles(self) -> None:
        """How each column behaves in this filling: how many different values, how many of them aimed, how many NULL."""
        self.values: dict[tuple[str, str], list[Value]] = {}
        self.aimed_share: dict[tuple[str, str], float] = {}
        self.null_share: dict[tuple[str, str], float] = {}
        shared: dict = {}
        many = self.rng.random()
        for table in self.schema.tables.values():
            for name, column in table.columns.items():
                key = (table.name, name)
                group = (self.pools.group[key], self.pools.kinds[key])
                if group not in shared:
                    size = self.rng.choice([2, 3, 5, 12, 25] if many < 0.7 else [8, 25, 60])
                    shared[group] = self.pools.plain(key, self.rng, size)
                self.values[key] = self.pools.allowed(key, shared[group]) or self.pools.plain(key, self.rng, 12)
                self.aimed_share[key] = self.rng.choice([0.2, 0.5, 0.8]) if self.pools.aimed[key] else 0.0
                self.null_share[key] = 0.0 if column.not_null else self.rng.choice([0.0, 0.0, 0.08, 0.2])
                if self.pools.kinds[key] in ("integer", "real") and self.rng.random() < 0.12:
                    self.values[key] = self.values[key][:1]  # all equal: each row is at the average and the extremes
                    self.aimed_share[key] = self.null_share[key] = 0.0
                    self.level.add(key)

    # one row --------------------------------------------------------------------------------------------------
    def draw(self, table: Table, name: str) -> Value:
        key = (table.name, name)
        if self.rng.random() < self.null_share[key]:
            return None
        if self.rng.random() < self.aimed_share[key]:
            return self.rng.choice(self.pools.aimed[key])
        return self.rng.choice(self.values[key])

    def fresh(self, table: Table, name: str) -> Value:
        self.counter += 1
        words = words_for(table.name, name, self.pools.korean)
        return fresh_value(self.pools.kinds[table.name, name], self.counter, words)

    def has_room(self, table: Table) -> bool:
        return len(self.rows[table.name]) < self.few.get(table.name, self.cap)

    def of_few_groups(self, aim: Aim) -> None:
        """Lets the gold find few groups, of which one is then likely the largest and one the smallest."""
        for source, column in aim.fixed:
            table = self.schema.tables[aim.sources[source].lower()]
            parents = [link.parent for link in table.foreign_keys if column in link.columns]
            for name in parents or [table.name] * self.schema.identifies(table.name, column):
                self.few[name] = self.rng.choice([2, 3, 4])

    def rivals(self, aim: Aim) -> None:
        """Lets the gold find few groups alone, each of just the size that it is to have.

        Of two that it ranks, one has a row more, and the other more of all else that may count: larger numbers, more
        different values, rows that meet both sides of an OR.
        """
        for name in self.parents_first():
            if any(link.parent == name for table in self.schema.tables.values() for link in table.foreign_keys):
                for _ in range(2):
                    self.add(self.schema.tables[name.lower()], {})  # to refer to, beside the groups
        tables = [self.schema.tables[name.lower()] for name in aim.sources]
        size = self.rng.choice([1, 2, 3])
        groups = [(size, True), (size + 1, False)]
        if not aim.ranked:
            groups = [(count, self.rng.random() < 0.3) for count in aim.counts]
            self.cap = max(self.cap, min(MANY, 4 + sum(aim.counts)))
        for count, more in self.rng.sample(groups, len(groups)):
            either = self.rng.sample(aim.maybe_equal, len(aim.maybe_equal) if more else min(1, len(aim.maybe_equal)))
            places = self._joined(aim, aim.equal + either)
            group = {places[place] for place in aim.fixed if place in places}
            free = {cls for (n, name), cls in places.items() if not any(name in key for key in tables[n].keys)} - group
            if free and not more:
                linked = {places[place] for pair in aim.equal for place in pair} & free
                other_sides = {places[place] for pair in aim.maybe_equal for place in pair} & free
                likely = linked if linked and self.rng.random() < 0.5 else free  # one parent with several children
                group |= {self.rng.choice(sorted(likely)), *other_sides}
            side = self.rng.choice([*aim.sides, range(len(tables))])
            self._group(aim, places, sorted(group), {}, count, 0.0, int(more), side)
        self.few.update((name, len(self.rows[name])) for name in aim.sources)

    def add(self, table: Table, wanted: dict[str, Value]) -> dict[str, Value] | None:
        """Adds a row that has the wanted values; None when the constraints do not allow one."""
        if len(self.pending) >= DEPTH or table.name in self.empty:
            return None
        if any(all(name in wanted for name in key) and self.is_taken(table, key, wanted) for key in table.keys):
            return None
        made: dict[str, Value] | None = None
        for attempt in range(TRIES):
            row = dict(wanted)
            linked = {name for link in table.foreign_keys for name in link.columns}
            for name in table.columns:  # keys first, so that a row that refers back to this one can
                if name not in row and name not in linked:
                    part = any(name in key for key in table.keys)
                    often = 0.3 if (name,) in table.keys else -0.6  # the rest of a key may still tell the rows apart
                    row[name] = (
                        self.fresh(table, name)
                        if part and self.rng.random() < often + attempt * 0.2
                        else self.draw(table, name)
                    )
            self._close_dates(table, row, wanted)
            self.pending.append((table, row))
            held = all(self.refer(table, link, row) for link in table.foreign_keys)
            self.pending.pop()
            if held and self.insert(table, row):
                made = row
                break
        return made

    def is_taken(self, table: Table, key: tuple[str, ...], row: dict[str, Value]) -> bool:
        """Whether a row with the same values in the columns of a key is there; SQLite may find further ones alike."""
        return tuple(row[name] for name in key) in self.taken[table.name, key]

    def _close_dates(self, table: Table, row: dict[str, Value], wanted: dict[str, Value]) -> None:
        """Half of the time, puts a row's later date columns a little after its first one."""
        dated = [n for n in table.columns if self.pools.kinds[table.name, n] in ("date", "datetime") and row.get(n)]
        for name in dated[1:]:
            if name not in wanted and self.rng.random() < 0.5:
                spans = self.pools.spans.get((table.name, name), [])
                moved = later_instant(row[dated[0]], spans, self.pools.kinds[table.name, name], self.rng)
                row[name] = (self.pools.allowed((table.name, name), [moved]) or [row[name]])[0]

    def refer(self, table: Table, link: ForeignKey, row: dict[str, Value]) -> bool:
        """Gives the row's foreign key values of a parent that exists. False when there can be none."""
        parent = self.schema.tables[link.parent.lower()]
        pairs = list(zip(link.columns, link.parent_columns, strict=True))
        wanted = {key: as_kind(row[child], self.pools.kinds[parent.name, key]) for child, key in pairs if child in row}
        if any(value is None for value in wanted.values()):
            for child, _ in pairs:
                row.setdefault(child, None)
            return True  # a NULL in a foreign key refers to nothing
        nullable = all(not table.columns[child].not_null for child, _ in pairs)
        share = max(self.null_share[table.name, child] for child, _ in pairs)
        if not wanted and nullable and self.rng.random() < share:
            row.update((child, None) for child, _ in pairs)
            return True
        found = [other for other in self.rows[parent.name] if all(other.get(key) == v for key, v in wanted.items())]
        found = [other for other in found if all(other.get(key) is not None for _, key in pairs)]
        if link.columns in table.keys:  # one child a parent
            taken, kinds = self.taken[table.name, link.columns], self.pools.kinds
            found = [r for r in found if tuple(as_kind(r[k], kinds[table.name, c]) for c, k in pairs) not in taken]
        own = [r for t, r in self.pending if t is parent and all(r.get(key) is not None for _, key in pairs)]
        own = [r for r in own if all(r.get(key) == value for key, value in wanted.items())]
        if wanted and own:
            found = own
        elif not found or (not wanted and self.rng.random() < 0.1 and self.has_room(parent)):
            busy = any(t is parent for t, _ in self.pending)
            made = None if busy else self.add(parent, wanted)
            found = [made] if made else found or own
        if not found:
            for child, _ in pairs:
                if table.columns[child].not_null or row.get(child) is not None:
                    return False
                row[child] = None
            return True
        chosen = self.rng.choice(found)
        for child, key in pairs:
            row[child] = as_kind(chosen[key], self.pools.kinds[table.name, child])
        return True

    def insert(self, table: Table, row: dict[str, Value]) -> bool:
        names = list(table.columns)
        marks = ", ".join("?" * len(names))
        columns = ", ".join(map(quoted, names))
        try:
            self.connection.execute(
                f"INSERT INTO {quoted(table.name)} ({columns}) VALUES ({marks})", [row[n] for n in names]
            )
        except (sqlite3.IntegrityError, OverflowError):
            return False
        self.rows[table.name].append(row)
        for key in table.keys:
            value = tuple(row[name] for name in key)
            if None not in value:
                self.taken[table.name, key].add(value)
        return True

    # rows for a gold --------------------------------------------------------------------------------------------
    def aim_at(self, aim: Aim, miss: float) -> None:
        """Adds rows that the gold finds as one group; with probability `miss` each of them just misses."""
        places = self._classes(aim)
        every = range(len(aim.sources))
        side = self.rng.choice(aim.sides) if aim.sides and self.rng.random() < 0.3 else every  # of a set operation
        if aim.fixed and (aim.uses.shared or aim.uses.winning) and self.rng.random() < 0.3:
            self._merging_groups(aim, places)
            return
        group = [places[place] for place in aim.fixed if place in places]
        if not group and self.rng.random() < 0.4:  # equal answers from different rows
            group = [places[place] for place in aim.projected if place in places]
        elif len(aim.sources) > 1 and (aim.sides or not group) and self.rng.random() < 0.6:
            anchor = self.rng.choice(side)  # one parent with several children
            group += [cls for place, cls in places.items() if place[0] == anchor]
        if aim.fixed and self.rng.random() < 0.3:
            miss = 0.0  # a group as large as is asked for
        repeats = self.rng.choice(sorted({n for n in aim.repeats if n < self.cap - 4}) or [1, 2, 2])
        spike = self.rng.choice([-1, 1]) if self.rng.random() < 0.3 else 0
        self._group(aim, places, group, {}, repeats, miss, spike, side)

    def _merging_groups(self, aim: Aim, places: dict[Place, int]) -> None:
        """A large group, and two smaller ones that are larger together and alike in one thing that two may share."""
        group = [places[place] for place in aim.fixed if place in places]
        may = aim.uses.shared | aim.uses.winning
        shared = {cls for place, cls in places.items() if (aim.sources[place[0]], place[1]) in may}
        shared -= {places[p] for p in aim.fixed if p in places and self.schema.identifies(aim.sources[p[0]], p[1])}
        shared = {self.rng.choice(sorted(shared))} if shared else shared
        size = self.rng.choice([1, 2, 3])
        alike: dict[int, Value] = {}
        for count, kept in ((size + 1, {}), (size, {}), (size, alike)):
            made = self._group(aim, places, group + sorted(shared), dict(kept), count, 0.0, 0)
            if count == size and not alike:
                alike.update((cls, made[cls]) for cls in shared if made.get(cls) is not None)

    def _group(
        self,
        aim: Aim,
        places: dict[Place, int],
        group: list[int],
        kept: dict,
        repeats: int,
        miss: float,
        spike: int,
        side: range | None = None,
    ) -> dict[int, Value]:
        """Adds `repeats` finds that agree in the classes of the group, and in what is `kept`; what they agree in.

        side: of a set operation, the sources that get rows; without it, all.
        """
        order = {name: number for number, name in enumerate(self.parents_first())}
        sources = sorted(side or range(len(aim.sources)), key=lambda index: (order[aim.sources[index]], index))
        for _ in range(repeats):
            chosen = dict(kept)
            missed = self.rng.random() < miss
            atoms = [(atom, yes) for tree in aim.conditions for atom, yes in self._choose(tree, True)]
            victim = self.rng.choice(atoms)[0] if missed and atoms else None
            dropped = self.rng.choice(sources) if missed and not atoms and len(sources) > 1 else None
            for cls, value in self._values(aim, atoms, victim, places).items():
                chosen.setdefault(cls, value)
            for index in sources:
                if index == dropped or (missed and len(sources) > 1 and self.rng.random() < 0.15):
                    continue
                self._source_row(aim, index, places, chosen, spike)
            kept = {cls: chosen[cls] for cls in group if cls in chosen}
        return kept

    def _classes(self, aim: Aim) -> dict[Place, int]:
        """The number of each place's equality class in this filling; NOT IN links are made half of the time."""
        return self._joined(aim, aim.equal + [pair for pair in aim.maybe_equal if self.rng.random() < 0.5])

    def _joined(self, aim: Aim, pairs: list[tuple[Place, Place]]) -> dict[Place, int]:
        """The number of each place's class, where the places of a pair are in one."""
        numbers: dict[Place, int] = {}
        for index, name in enumerate(aim.sources):
            for column in self.schema.tables[name.lower()].columns:
                numbers[index, column] = len(numbers)
        for a, b in pairs:
            if a in numbers and b in numbers:
                old, new = numbers[b], numbers[a]
                numbers = {place: new if number == old else number for place, number in numbers.items()}
        return numbers

    def _choose(self, tree, wanted: bool) -> list[tuple[Atom, bool]]:
        """Atoms and the truth values that make a condition true."""
        if isinstance(tree, Atom):
            return [(tree, wanted)]
        kind, parts = tree
        if kind == "not":
            return self._choose(parts[0], not wanted)
        if (kind == "and") == wanted:
            return [atom for part in parts for atom in self._choose(part, wanted)]
        return self._choose(self.rng.choice(parts), wanted)

    def _values(self, aim: Aim, atoms: list, victim: Atom | None, places: dict) -> dict[int, Value]:
        """A value for each class with conditions that meets all of them, but not the victim."""
        allowed: dict[int, list[Value]] = {}
        for atom, wanted in atoms:
            yes, no = self.pools.split(atom, aim.sources[atom.place[0]])
            values = yes if wanted != (atom is victim) else no
            cls = places[atom.place]
            if cls in allowed:
                both = [value for value in allowed[cls] if value in values]
                values = both or allowed[cls]
            if values:
                allowed[cls] = values
        return {cls: self.rng.choice(values) for cls, values in allowed.items()}

    def _source_row(self, aim: Aim, index: int, places: dict, chosen: dict, spike: int) -> None:
        """Adds, or finds, the row for one occurrence of a table; a spike puts its free numbers beyond all others."""
        table = self.schema.tables[aim.sources[index].lower()]
        wanted = {name: chosen[places[index, name]] for name in table.columns if places[index, name] in chosen}
        wanted = {name: as_kind(value, self.pools.kinds[table.name, name]) for name, value in wanted.items()}
        wanted = {
            name: value for name, value in wanted.items() if value is not None or not table.columns[name].not_null
        }
        if spike:
            linked = {name for link in table.foreign_keys for name in link.columns}.union(*table.keys)
            for name in table.columns:
                kind = self.pools.kinds[table.name, name]
                if (
                    name not in linked
                    and kind in ("integer", "real")
                    and name not in wanted
                    and (table.name, name) not in self.level
                ):
                    wanted[name] = spike * self.rng.randrange(5000, 9000)
        row = None
        for key in table.keys:  # a row with this key is there already
            if all(wanted.get(name) is not None for name in key):
                same = [r for r in self.rows[table.name] if all(r[name] == wanted[name] for name in key)]
                row = same[0] if same else row
        if row is None and self.has_room(table):
            row = self.add(table, wanted)
        for name, value in (row or {}).items():
            chosen.setdefault(places[index, name], value)

    # the whole --------------------------------------------------------------------------------------------------
    def parents_first(self) -> list[str]:
        """Table names, each after those it refers to; where they refer in a circle, as defined."""
        done: list[str] = []

        def visit(table: Table, path: tuple) -> None:
            if table.name in done or table.name in path:
                return
            for link in table.foreign_keys:
                visit(self.schema.tables[link.parent.lower()], (*path, table.name))
            done.append(table.name)

        for table in self.schema.tables.values():
            visit(table, ())
        return done

    def fill(self, least: int) -> None:
        """Adds plain rows, a few of them near copies of others, until each table has about `least`."""
        for name in self.parents_first():
            table = self.schema.tables[name.lower()]
            free = [n for n in table.columns if not any(n in key for key in table.keys)]
            free = [n for n in free if not any(n in link.columns for link in table.foreign_keys)]
            wished = min(least + self.rng.randrange(-2, 3), self.few.get(name, self.cap))
            for _ in range(max(0, wished - len(self.rows[name]))):
                wanted = {}
                if self.rows[name] and free and self.rng.random() < 0.35:
                    other = self.rng.choice(self.rows[name])
                    wanted = {n: other[n] for n in free}
                    if self.rng.random() < 0.7:
                        wanted.pop(self.rng.choice(free))
                self.add(table, wanted)

    def script(self) -> str:
        """The filling as SQL: the context's tables, the rows in shuffled order, then indexes, views and triggers."""
        self.drop_dangling()
        statements = list(self.schema.before)
        for name in self.parents_first():
            table = self.schema.tables[name.lower()]
            rows = list(self.rows[name])
            self.rng.shuffle(rows)
            columns = ", ".join(map(quoted, table.columns))
            values = ",\n".join("(" + ", ".join(literal(row[n]) for n in table.columns) + ")" for row in rows)
            if rows:
                statements.append(f"INSERT INTO {quoted(name)} ({columns}) VALUES\n{values}")
        self.connection.close()
        return ";\n".join(statements + self.schema.after) + ";\n"

    def drop_dangling(self) -> None:
        """Takes out rows whose parent, in a circle of tables, could not be added in the end."""
        changed = True
        while changed:
            changed = False
            for table in self.schema.tables.values():
                for link in table.foreign_keys:
                    kinds = [self.pools.kinds[link.parent, key] for key in link.parent_columns]
                    keys = {tuple(row[key] for key in link.parent_columns) for row in self.rows[link.parent]}
                    kept = []
                    for row in self.rows[table.name]:
                        value = tuple(as_kind(row[c], kind) for c, kind in zip(link.columns, kinds, strict=True))
                        if None in value or value in keys:
                            kept.append(row)
                    changed |= len(kept) < len(self.rows[table.name])
                    self.rows[table.name] = kept
