"""The tables of a script of DDL as its text defines them, in whatever dialect, and the texts that its INSERTs bring.

For prompts, which show a statement as it was written: the places are kept where a comment may be put beside a column.
What cannot be read stays a statement without columns. Nothing runs, so a script need not be valid anywhere.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from text2sql.sql.context import statements
from text2sql.sql.tokens import Token, tokens

COMMENT_LENGTH = 200  # characters of one comment that is written
LONGEST = 100_000  # tokens of one INSERT that are looked at
# Words that begin a constraint or an index where a column's name would stand (a column may have such a name in quotes).
_NO_COLUMN = frozenset("primary foreign unique check constraint key index fulltext spatial exclude like period".split())
# Words behind a column's name that end its type.
_BEHIND_TYPE = frozenset(
    "not null primary unique default references check collate constraint comment auto_increment autoincrement "
    "generated as on identity encode character invisible visible virtual stored key distkey sortkey".split()
)
# Words between CREATE and the kind of thing that it makes.
_BEFORE_KIND = frozenset(
    "or replace temp temporary unlogged external foreign virtual global local materialized recursive force algorithm "
    "undefined merge temptable definer sql security invoker".split()
)


@dataclass(frozen=True)
class Column:
    """A column; `definition` is what its table's statement says of it, `end` the place there behind it."""

    name: str
    type: str = ""
    comment: str = ""
    definition: str = ""
    end: int = -1


@dataclass(frozen=True, eq=False)  # told apart by identity, which is what caches ask: a comparison reads all of it
class Table:
    """A table or view: its name without quotes, and the statements about it as written, joined by `;` and a line end.

    A view, and a table whose statement cannot be read, has no columns.
    """

    name: str
    statement: str
    columns: tuple[Column, ...] = ()
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = ()  # (columns, parent, its columns)
    comment: str = ""
    spelled: str = ""  # its name as written
    is_view: bool = False

    def with_values(self, values: Mapping[str, Sequence[str]]) -> str:
        """The statement with SQL literals, by column name, in a comment beside their columns."""
        text = self.statement
        for column in reversed(self.columns):
            if shown := commented("e.g. " + ", ".join(values[column.name])) if values.get(column.name) else "":
                text = f"{text[: column.end]} {shown}{text[column.end :]}"
        return text

    def narrowed(self, columns: Sequence[Column]) -> "Table":
        """The table with these of its columns alone, on one line; a key that lacks one of its columns is left out."""
        names = {column.name for column in columns}
        text, placed = f"CREATE TABLE {self.spelled} (", []
        for number, column in enumerate(columns):
            text += (", " if number else "") + " ".join(column.definition.split())
            placed.append(replace(column, end=len(text)))
        said = " ".join(column.definition.lower() for column in columns)
        if self.primary_key and names.issuperset(self.primary_key) and "primary key" not in " ".join(said.split()):
            text += f", PRIMARY KEY ({', '.join(self._spelled(self.primary_key))})"
        for own, parent, theirs in self.foreign_keys:
            beside = next((c for c in columns if own == (c.name,) and "references" in c.definition.lower()), None)
            if names.issuperset(own) and beside is None:
                to = f"{parent}({', '.join(theirs)})" if theirs else parent
                text += f", FOREIGN KEY ({', '.join(self._spelled(own))}) REFERENCES {to}"
        return replace(self, statement=f"{text})", columns=tuple(placed))

    def _spelled(self, names: Sequence[str]) -> list[str]:
        written = {
            column.name: column.definition[: len(next(tokens(column.definition)).text)] for column in self.columns
        }
        return [written[name] for name in names]


@dataclass(frozen=True)
class Script:
    """A script's tables and its statements about no table (types, settings …) in their order."""

    parts: tuple[Table | str, ...]

    @property
    def tables(self) -> list[Table]:
        return [part for part in self.parts if isinstance(part, Table)]

    @property
    def types(self) -> list[str]:
        """The other statements that make something (a type, a domain): tables of any choice may need it."""
        return [part for part in self.parts if isinstance(part, str) and part[:6].lower() == "create"]


def commented(text: str) -> str:
    """A text as an SQL comment that ends where it should; empty for none."""
    text = " ".join(text.replace("*/", "* /").replace("/*", "/ *").split())[:COMMENT_LENGTH]
    return f"/* {text} */" if text else ""


@lru_cache(maxsize=1024)
def read_script(script: str, dialect: str | None = None) -> Script:
    """The tables that a script defines. Raises ValueError at an unpaired quote.

    A later statement about a table (ALTER TABLE, CREATE INDEX, COMMENT ON, a partition) belongs to that table.
    """
    parts: list[Table | str] = []
    places: dict[str, int] = {}
    for statement in statements(script, dialect):
        words = [token for token in tokens(statement, dialect) if token.kind not in ("space", "comment")]
        kind, at = _kind(words)
        name, behind = _name(words, at)
        parent = name if kind == "alter" else _subject(words, behind)
        if kind in ("table", "view") and name and parent is None:
            for key in keys_of(name):
                places.setdefault(key, len(parts))
            parts.append(_table(statement, words, name, at, behind, dialect, kind == "view"))
            continue
        about = next((places[key] for key in keys_of(parent or "") if key in places), None)
        if kind and about is not None and isinstance(table := parts[about], Table):
            parts[about] = _extended(table, statement, words, kind)
        else:
            parts.append(statement)
    return Script(tuple(parts))


def keys_of(name: str) -> list[str]:
    """What a table's name is found by: itself, and its last part, in lower case."""
    return [name.lower(), name.lower().rpartition(".")[2]]


def plain(text: str) -> str:
    """A name without its quotes."""
    if len(text) > 1 and text[0] in "'\"`[":
        return text[1:-1].replace(text[0] * 2, text[0]) if text[0] != "[" else text[1:-1]
    return text


def _kind(words: list[Token]) -> tuple[str, int]:
    """What a statement is about (table, view, index, alter, comment, or empty), and the place of what follows."""
    first = words[0].text.lower() if words else ""
    if first == "alter" and len(words) > 2 and words[1].text.lower() in ("table", "view"):
        at = 2
        while at < len(words) and words[at].text.lower() in ("if", "exists", "only"):
            at += 1
        return "alter", at
    if first == "comment" and len(words) > 3 and words[1].text.lower() == "on":
        return "comment", 3
    if first != "create":
        return "", 0
    at = 1
    while at < len(words) and (words[at].text.lower() in _BEFORE_KIND or words[at].kind in ("operator", "name")):
        at += 1
    kind = words[at].text.lower() if at < len(words) else ""
    if kind == "unique" or kind in ("fulltext", "spatial", "clustered", "nonclustered"):
        return "index", at + 1
    if kind not in ("table", "view", "index"):
        return "", 0
    at += 1
    while at < len(words) and words[at].text.lower() in ("if", "not", "exists", "concurrently"):
        at += 1
    return kind, at


def _name(words: list[Token], at: int) -> tuple[str, int]:
    """The name, with its schema, that stands at a place, and the place behind it; empty for none."""
    parts = []
    while at < len(words) and words[at].kind in ("word", "name", "literal"):
        parts.append(plain(words[at].text))
        at += 1
        if at < len(words) and words[at].text == "." and at + 1 < len(words):
            at += 1
        else:
            break
    return ".".join(parts), at


def _subject(words: list[Token], behind: int) -> str | None:
    """The table that an index, a comment or a partition is about, where a statement is one."""
    texts = [word.text.lower() for word in words]
    if texts[:1] == ["comment"]:
        name, _ = _name(words, 3)
        return name.rpartition(".")[0] if texts[2] == "column" else name
    if texts[behind : behind + 2] == ["partition", "of"]:
        return _name(words, behind + 2)[0]
    if "on" in texts[: behind + 2] and "index" in texts[:4]:
        return _name(words, texts.index("on") + 1)[0]
    return None


def _table(
    statement: str, words: list[Token], name: str, at: int, behind: int, dialect: str | None, is_view: bool
) -> Table:
    """The table that a CREATE statement makes; `at` and `behind` are the places of its name."""
    spelled = statement[words[at].start : words[behind - 1].end]
    table = Table(name, statement, spelled=spelled, is_view=is_view)
    if is_view or behind >= len(words) or words[behind].text.lower() in ("as", "like", "clone"):
        return table
    start = next((word.end for word in words[behind:] if word.text == "("), None)
    if start is None:
        return table
    columns: list[Column] = []
    about = ""
    primary: tuple[str, ...] = ()
    links: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = []
    for item in _items(statement, start, dialect):
        parts = [token for token in item if token.kind not in ("space", "comment")]
        remarks = [token for token in item if token.kind == "comment"]
        if columns and remarks and (not parts or remarks[0].start < parts[0].start):
            before = statement[columns[-1].end : remarks[0].start]
            if "\n" not in before and not columns[-1].comment:  # behind the comma, on the line of its column
                columns[-1] = replace(columns[-1], comment=_remark(remarks.pop(0).text))
        if not parts:
            continue
        if not columns and remarks and remarks[0].start < parts[0].start:
            about = _remark(remarks[0].text)
        first = parts[0]
        if first.kind == "word" and first.text.lower() in _NO_COLUMN and not _is_column(parts):
            key, link = _constraint(parts)
            primary, links = key or primary, [*links, *link]
            continue
        if first.kind not in ("word", "name", "literal"):
            continue
        texts = [part.text.lower() for part in parts]
        column = plain(first.text)
        if "primary" in texts[1:]:
            primary = (column,)
        if "references" in texts[1:]:
            links += [((column,), parent, theirs) for parent, theirs in [_reference(parts, texts.index("references"))]]
        comment = "; ".join(_remark(remark.text) for remark in remarks if remark.start > first.start)
        if "comment" in texts[1:-1] and parts[texts.index("comment", 1) + 1].kind == "literal":
            comment = text_of(parts[texts.index("comment", 1) + 1].text)
        definition = statement[first.start : parts[-1].end]
        columns.append(Column(column, _type(statement, parts), comment, definition, parts[-1].end))
    options = [word for word in words if columns and word.start > columns[-1].end]
    said = [two for one, two in itertools.pairwise(word for word in options if word.text != "=")
            if one.text.lower() == "comment" and two.kind == "literal"]  # fmt: skip
    comment = text_of(said[-1].text) if said else about
    return replace(table, columns=tuple(columns), primary_key=primary, foreign_keys=tuple(links), comment=comment)


def _is_column(parts: list[Token]) -> bool:
    """Whether what begins with a constraint's word is a column of that name: `key TEXT`, `period INT NOT NULL`."""
    if parts[0].text.lower() in ("primary", "foreign", "constraint", "check", "exclude", "like"):
        return False
    texts = [part.text.lower() for part in parts[1:3]]
    return bool(texts) and parts[1].kind == "word" and texts[0] not in ("key", "index", "for") and "(" not in texts


def _items(statement: str, start: int, dialect: str | None) -> Iterator[list[Token]]:
    """The tokens of each entry of the parenthesis that is open at a place."""
    depth = 0
    item: list[Token] = []
    for token in tokens(statement, dialect, start):
        if token.text == "(":
            depth += 1
        elif token.text == ")":
            depth -= 1
            if depth < 0:
                break
        if token.text == "," and depth == 0:
            yield item
            item = []
        else:
            item.append(token)
    yield item


def _constraint(parts: list[Token]) -> tuple[tuple[str, ...], list]:
    """The primary key, and the foreign keys as in `Table`, that a table's constraint names."""
    texts = [part.text.lower() for part in parts]
    if "foreign" in texts and "references" in texts:
        at = texts.index("references")
        own = _listed(parts, texts.index("foreign"))
        parent, theirs = _reference(parts, at)
        return (), [(own, parent, theirs)] if own else []
    return (_listed(parts, texts.index("primary")) if "primary" in texts else ()), []


def _reference(parts: list[Token], at: int) -> tuple[str, tuple[str, ...]]:
    """The table, and its columns if named, behind REFERENCES at a place."""
    parent, behind = _name(parts, at + 1)
    named = behind < len(parts) and parts[behind].text == "("
    return parent, _listed(parts, behind) if named else ()


def _listed(parts: list[Token], at: int) -> tuple[str, ...]:
    """The names in the first parenthesis from a place on."""
    names = []
    inside = False
    for part in parts[at:]:
        if part.text == "(":
            inside = True
        elif part.text == ")":
            break
        elif inside and part.kind in ("word", "name", "literal") and part.text.lower() not in ("asc", "desc"):
            names.append(plain(part.text))
    return tuple(names)


def _type(statement: str, parts: list[Token]) -> str:
    """A column's type as written."""
    depth, last = 0, None
    for part in parts[1:]:
        if depth == 0 and part.kind == "word" and part.text.lower() in _BEHIND_TYPE:
            break
        depth += (part.text == "(") - (part.text == ")")
        last = part
    return " ".join(statement[parts[1].start : last.end].split()) if last else ""


def _extended(table: Table, statement: str, words: list[Token], kind: str) -> Table:
    """The table with one more statement about it, and what that says of keys and comments."""
    table = replace(table, statement=f"{table.statement};\n{statement}")
    texts = [word.text.lower() for word in words]
    if kind == "alter":
        key, links = _constraint(words)
        return replace(table, primary_key=table.primary_key or key, foreign_keys=(*table.foreign_keys, *links))
    if kind == "comment" and words[-1].kind == "literal":
        said = text_of(words[-1].text)
        if texts[2] != "column":
            return replace(table, comment=said)
        name = _name(words, 3)[0].rpartition(".")[2].lower()
        columns = (replace(c, comment=said) if c.name.lower() == name else c for c in table.columns)
        return replace(table, columns=tuple(columns))
    return table


def _remark(comment: str) -> str:
    """What a comment says."""
    return " ".join(comment.removeprefix("--").removeprefix("/*").removesuffix("*/").split())


def text_of(literal: str) -> str:
    """A literal's text, on one line."""
    return " ".join(literal[1:-1].replace("''", "'").split())


@lru_cache(maxsize=1024)
def inserted_texts(script: str, dialect: str | None = None, rows: int = 1000) -> dict[tuple[str, str], tuple[str, ...]]:
    """The different texts that a script's INSERTs bring, in their order, by (table, column), both in lower case.

    rows: of each table, from its first one. Texts are SQL literals as written; numbers and expressions are passed over.
    """
    columns = {key: [c.name for c in t.columns] for t in read_script(script, dialect).tables for key in keys_of(t.name)}
    found: dict[tuple[str, str], dict[str, None]] = {}
    counts: dict[str, int] = {}
    statement: list[Token] = []
    for token in tokens(script, dialect):
        if token.kind in ("space", "comment"):
            continue
        if token.text != ";":
            if len(statement) < LONGEST:
                statement.append(token)
            continue
        _add_rows(statement, columns, found, counts, rows)
        statement = []
    _add_rows(statement, columns, found, counts, rows)
    return {place: tuple(texts) for place, texts in found.items()}


def _add_rows(
    words: list[Token], columns: dict[str, list[str]], found: dict, counts: dict[str, int], most: int
) -> None:
    """Adds the texts of one INSERT … VALUES statement."""
    texts = [word.text.lower() for word in words[:8]]
    if not texts or texts[0] not in ("insert", "replace"):
        return
    name, at = _name(words, texts.index("into") + 1 if "into" in texts else 1)
    key = next((key for key in keys_of(name) if key in columns), None)
    if key is None:
        return
    names = columns[key]
    if at < len(words) and words[at].text == "(":
        names = list(_listed(words, at))
    while at < len(words) and words[at].text.lower() not in ("values", "value", "select"):
        at += 1
    depth, place = 0, 0
    cell: list[Token] = []
    for word in words[at + 1 :]:
        depth += (word.text == "(") - (word.text == ")")
        ends_row = depth == 0 and word.text == ")"
        if depth == 1 and word.text == "(":
            place, cell = 0, []
        elif ends_row or (depth == 1 and word.text == ","):
            if len(cell) == 1 and cell[0].kind == "literal" and place < len(names) and counts.get(key, 0) < most:
                found.setdefault((key, names[place].lower()), {})[cell[0].text] = None
            place, cell = place + 1, []
            counts[key] = counts.get(key, 0) + ends_row
        elif depth >= 1:
            cell.append(word)
