"""What makes a filling ordinary: the rules by which a schema is made stricter than it is declared.

DDL rarely says all that holds of its data. Rows that a careful person would enter know their names and dates, and have
the partner that a reference speaks of; a filling that breaks this tells queries apart that agree on real rows. The
rules are the same for every data set and look at nothing but declared constraints, names of columns, and the gold:

1. A column is never NULL, unless
   - the gold itself asks for NULL (IS NULL, COALESCE, an outer join on it), or takes a mean or sum of it, where a
     measurement that was not taken is an everyday thing; or
   - it is a foreign key that the gold does not join by, in a table with a key of its own: not every car has a maker.
     A table that is nothing but links has no row without its links.
2. A name is not shared by two rows of a table with a key: of a row's name, that is, and not of something else about
   it, as a singer's song_name. Nor is a name of a person or a title that the gold takes for the thing itself: what
   joined rows are grouped by, what sets of joined rows are compared by. Otherwise first and family names may be shared,
   and what has a year of its own comes back under its name. So may all that the gold expects to repeat: what
   it shows or counts DISTINCT, groups of one table's rows, and what is shown of groups by a key that a LIMIT picks from
   (of two that share a name, another one would win; a list, however, is read as a list of different things), unless
   that is a country, a continent or a language, of which no two have one name. Things that share a name differ in what
   the gold shows beside it.
3. A column that the gold sets equal to another table's whole key refers to it, declared or not: it has its partner.
4. No table is empty, and a gold that picks the first of its rows by a LIMIT has some to pick from.
5. A fine measure (a number with decimals, a time stamp) by which the gold ranks rows for its LIMIT does not tie; nor
   does a whole amount of which it takes the largest. Amounts thin out at the top and crowd at the bottom, where many
   have none; whole numbers of a coarse scale (ages, years, grades, ranks, ratings, points) tie at either end.

Fillings of the schema as declared are the harsh ones.
"""

import re
from dataclasses import replace

from text2sql.databases.aims import Aim
from text2sql.databases.schema import ForeignKey, Schema, Table

_NAME = re.compile(r"name$|(이름|명)$", re.IGNORECASE)
_YEARLY = re.compile(r"^(year|season|edition)$|^(연도|년도)$", re.IGNORECASE)
_TITLE = re.compile(r"(title|label)$|제목$", re.IGNORECASE)
_OF_COUNTRIES = re.compile(r"countr|nation(s|$)|continent|language|국가|나라|대륙|언어", re.IGNORECASE)
_COARSE = re.compile(
    r"(^|_|(?<=[a-z])(?=[A-Z]))(?i:age|year|grade|level|class|rank|ranking|rating|score|star|point)s?($|_|[A-Z])"
    r"|(나이|연도|년도|학년|등급|레벨|순위|평점|점수|별점)$"
)
_OF_PERSONS = re.compile(r"^(f|l|m|first|last|middle|given|family|sur|nick|fore)_?name$", re.IGNORECASE)


def ordinary(schema: Schema, aim: Aim) -> Schema:
    """The stricter schema for the fillings of a gold."""
    strict = Schema(dict(schema.tables), schema.before, schema.after, schema.rows, list(schema.undeclared))
    links = {_key(aim, place) for pair in (*aim.equal, *aim.maybe_equal) for place in pair}
    for lower, table in schema.tables.items():
        columns = {
            name: replace(column, not_null=column.not_null or _known(table, name, aim, links))
            for name, column in table.columns.items()
        }
        strict.tables[lower] = replace(table, columns=columns)
    for child, parent in _references(schema, aim):
        table = strict.tables[child[0].lower()]
        link = ForeignKey((child[1],), parent[0], (parent[1],))
        strict.tables[child[0].lower()] = replace(table, foreign_keys=(*table.foreign_keys, link))
    for table in schema.tables.values():
        for name in table.columns:
            if _unique(schema, table, name, aim):
                strict.add_key(table.name, (name,))
    for owner, name in _untied(schema, aim):
        strict.add_key(owner, (name,))
    for owner, names in _told_apart(schema, aim):
        strict.add_key(owner, names)
    return strict


def _key(aim: Aim, place: tuple[int, str]) -> tuple[str, str]:
    return aim.sources[place[0]], place[1]


def _known(table: Table, name: str, aim: Aim, links: set[tuple[str, str]]) -> bool:
    """Rule 1: whether the column is never NULL."""
    if (table.name, name) in aim.uses.missing:
        return False
    refers = {column for link in table.foreign_keys for column in link.columns}
    if name not in refers or (table.name, name) in links:
        return True
    own = any(not refers & set(key) for key in table.keys)
    return not own


def _unique(schema: Schema, table: Table, name: str, aim: Aim) -> bool:
    """Rule 2: whether no two rows share the column's value."""
    key = (table.name, name)
    if key in aim.uses.shared or table.columns[name].kind != "text":
        return False
    if key in aim.uses.winning and not (_OF_COUNTRIES.search(table.name) and _names_its_table(table, name)):
        return False
    own = [columns for columns in table.keys if len(columns) == 1 and columns != (name,)]
    yearly = any(_YEARLY.match(other) for other in table.columns)  # what has its year comes back under its name
    if not own or yearly or schema.identifies(table.name, name):
        return False
    called = name.lower().rstrip("s") == table.name.lower().rstrip("s")  # airlines.airline
    usual = (called or _names_its_table(table, name)) and not _OF_PERSONS.match(name)
    return usual or (key in aim.uses.identifying and bool(_NAME.search(name) or _TITLE.search(name)))


def _names_its_table(table: Table, name: str) -> bool:
    """Whether a column is the name of what a row is, and not of something else about it: a singer's song_name."""
    if not _NAME.search(name):
        return False
    of = re.sub(r"[\W_]", "", _NAME.sub("", name).lower())
    rows = re.sub(r"[\W_]", "", table.name.lower())
    return not of or of == "full" or of[: max(3, len(of) - 1)] in rows or (not of.isascii() and rows.isascii())


def _told_apart(schema: Schema, aim: Aim) -> list[tuple[str, tuple[str, ...]]]:
    """Rule 2, of what a gold shows of things grouped by their key: a name with something beside it."""
    return sorted(
        (owner, names)
        for owner, names in aim.uses.together
        if len(names) > 1 and any(map(_NAME.search, names)) and schema.tables[owner.lower()].primary_key
    )


def _untied(schema: Schema, aim: Aim) -> list[tuple[str, str]]:
    """Rule 5: what says which row a LIMIT takes and is a fine measure, or an amount of which it takes the largest."""
    found = []
    for table, name in aim.uses.ranking:
        kind = schema.tables[table.lower()].columns[name].kind
        amount = kind == "integer" and (table, name) in aim.uses.largest and not _COARSE.search(name)
        if (kind in ("real", "datetime") or amount) and not schema.identifies(table, name):
            found.append((table, name))
    return sorted(found)


def _references(schema: Schema, aim: Aim) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Rule 3: (child, parent) columns of references that the schema does not declare."""
    found = []
    for pair in aim.equal:
        for child, parent in (pair, pair[::-1]):
            child_key, parent_key = _key(aim, child), _key(aim, parent)
            table, target = schema.tables[child_key[0].lower()], schema.tables[parent_key[0].lower()]
            declared = any(child[1] in link.columns for link in table.foreign_keys)
            if (
                target.primary_key == (parent[1],)
                and table.name != target.name
                and not declared
                and (child[1],) not in table.keys
                and (child_key, parent_key) not in found
            ):
                found.append((child_key, parent_key))
    return found
