"""MySQL 8's SQL as MariaDB reads it: what the two spell differently, and nothing else of a statement, is written anew.

The rest keeps every byte, so that the server judges what the model wrote. What MariaDB has no exact form of is named
(`lacking`).

| MySQL 8 | MariaDB |
|---|---|
| `REGEXP_LIKE(a, b, 'c')` | `((a) REGEXP CONCAT('(?-i)', b))`: its letters c, i, m, n as PCRE's |
| `REGEXP_SUBSTR(a, b)`, NULL where nothing matches | `IF(a REGEXP b, REGEXP_SUBSTR(a, b), NULL)` |
| `REGEXP_REPLACE(a, b, '$1')` | `REGEXP_REPLACE(a, b, '\\\\1')` |
| `j->'$.a'`, `j->>'$.a'` | `JSON_EXTRACT(j, '$.a')`, `JSON_UNQUOTE(JSON_EXTRACT(j, '$.a'))` |
| `ANY_VALUE(a)` | `(a)`: it aggregates nothing, and MariaDB asks for no leave |
| `LAG(a, n, d) OVER w`, `LEAD` | `IF(LAG(1, n) OVER w IS NULL, d, LAG(a, n) OVER w)` |
| `VALUES ROW(1, 2), ROW(3, 4)` | `SELECT 1 AS column_0, 2 AS column_1 UNION ALL SELECT 3, 4` |
| `TABLE t` | `SELECT * FROM t` |
| `(query) AS q(x, y)` | `(WITH q(x, y) AS (query) SELECT * FROM q) AS q` |
| `CAST(a AS REAL)` | `CAST(a AS DOUBLE)` |
| `RESPECT NULLS`, `FROM FIRST`: the default | nothing |
| `utf8mb4_0900_ai_ci` and its kin | `utf8mb4_uca1400_nopad_ai_ci`, as MariaDB 11.4 itself takes them |
| an aggregate's alias in an expression that sorts | the aggregate itself (`by_expression`) |

Sources: the MySQL 8.0 manual, 12.8.2 (regular expressions), 12.18.3 (JSON), 12.21 (window functions), 12.24
(ANY_VALUE), 13.2.19 (VALUES); MariaDB's knowledge base on each of these.
"""

import re
from collections.abc import Iterable
from functools import cached_property

from sqlglot.dialects import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token, TokenType

from text2sql.sql.tokens import tokens

TOO_LARGE = "the query is nested too deeply"
LONGEST = 200_000  # characters of what is written, since some arguments stand there twice
_COLLATIONS = {
    "utf8mb4_0900_ai_ci": "utf8mb4_uca1400_nopad_ai_ci",
    "utf8mb4_0900_as_ci": "utf8mb4_uca1400_nopad_as_ci",
    "utf8mb4_0900_as_cs": "utf8mb4_uca1400_nopad_as_cs",
    "utf8mb4_0900_bin": "utf8mb4_nopad_bin",
}
# MySQL 8's functions that MariaDB 10.11 does not have.
_FUNCTIONS = frozenset(
    "any_value bin_to_uuid format_bytes format_pico_time grouping is_uuid json_schema_validation_report "
    "json_storage_size regexp_like st_frechetdistance st_hausdorffdistance st_latitude st_longitude st_simplify "
    "st_swapxy st_transform st_validate statement_digest statement_digest_text uuid_to_bin".split()
)
_REGEXP_ARGUMENTS = {"regexp_instr": 2, "regexp_replace": 3, "regexp_substr": 2}
_MARKS = re.compile(
    r"->|\b(?:regexp_\w+|any_value|lag|lead|row|real|respect|first|table|utf8mb4_0900_\w+)\b"
    r"|\)\s*(?:as\s+)?[\w`]+\s*\(",
    re.IGNORECASE,
)
_DEFAULTS = (("respect", "nulls"), ("from", "first"))  # of a window function, which MariaDB does not spell
_NAMES = (TokenType.VAR, TokenType.IDENTIFIER)
_QUERIES = (TokenType.SELECT, TokenType.WITH, TokenType.VALUES, TokenType.L_PAREN)
_SET_OPERATIONS = (TokenType.UNION, TokenType.EXCEPT, TokenType.INTERSECT)
_AFTER_ORDER = (*_SET_OPERATIONS, TokenType.LIMIT, TokenType.FOR, TokenType.INTO, TokenType.SEMICOLON)


class NoForm(Exception):
    """A construct that MariaDB reads in another sense (outcome `dialect`), or what is too large to be written anew."""

    def __init__(self, reason: str, outcome: str = "dialect") -> None:
        super().__init__(reason)
        self.outcome = outcome


def as_mariadb(sql: str) -> str:
    """One statement of MySQL as MariaDB reads it; the text itself where the two do not differ, or it has no tokens.

    Raises NoForm.
    """
    if not _MARKS.search(sql):
        return sql
    try:
        return _Text(sql).written()
    except SqlglotError:  # the guard says so
        return sql
    except RecursionError:
        raise NoForm(TOO_LARGE, "too_large") from None


def with_collations(script: str) -> str:
    """A script of MySQL with MariaDB's names of MySQL 8's collations."""
    if "_0900_" not in script.lower():
        return script
    pieces, start = [], 0
    for token in tokens(script, "mysql"):
        if (name := _COLLATIONS.get(token.text.strip("`").lower())) is not None:
            pieces += [script[start : token.start], name]
            start = token.end
    return "".join([*pieces, script[start:]])


def by_expression(sql: str, alias: str) -> str:
    """A query whose ORDER BY holds the expression that an alias stands for in its place.

    MySQL lets an expression that sorts name an aggregate by its alias. MariaDB does so for a bare alias alone; where
    it says so of `alias`, no column of that name is meant.
    """
    text = _Text(sql)
    edits = [
        edit for at, word in enumerate(text.words) if _is(word, TokenType.ORDER_BY) for edit in text.named(at, alias)
    ]
    if sum(len(expression) for *_, expression in edits) > LONGEST:
        return sql
    for start, end, expression in sorted(edits, reverse=True):
        sql = f"{sql[:start]}({expression}){sql[end:]}"
    return sql


def lacking(sql: str) -> str | None:
    """The construct of MySQL 8 in a statement that MariaDB does not read; None where there is none."""
    try:
        text = _Text(sql)
    except SqlglotError:
        return None
    kinds = [word.token_type for word in text.words]
    for at, word in enumerate(text.words):
        before, after = text.kind(at - 1), text.kind(at + 1)
        if _is(word, TokenType.LATERAL):
            return "LATERAL"
        if _is(word, TokenType.MEMBER_OF):
            return "MEMBER OF"
        if _is(word, TokenType.RETURNING):
            return "JSON_VALUE with RETURNING"
        if _is(word, TokenType.ROLLUP) and TokenType.ORDER_BY in kinds[at:]:
            return "ORDER BY beside WITH ROLLUP"
        if _is(word, TokenType.INTERVAL) and {TokenType.RANGE} & set(kinds[max(0, at - 6) : at]):
            return "RANGE over an INTERVAL"
        if _is(word, TokenType.JSON, TokenType.YEAR) and before is TokenType.ALIAS and after is TokenType.R_PAREN:
            return f"CAST AS {word.text.upper()}"
        if after is not TokenType.L_PAREN:
            continue
        if word.text.lower() in _FUNCTIONS:
            return word.text.upper()
        if len(text.arguments(at + 1)) > _REGEXP_ARGUMENTS.get(word.text.lower(), 50_000):
            return f"{word.text.upper()} with a position, an occurrence or a match type"
    return None


def _is(word: Token, *kinds: TokenType) -> bool:
    return word.token_type in kinds


class _Text:
    """A statement and its tokens. Raises SqlglotError where it has none."""

    def __init__(self, sql: str) -> None:
        self.sql, self.words = sql, Dialect.get_or_raise("mysql").tokenize(sql)
        self.closing: dict[int, int] = {}  # of each parenthesis that is closed
        self.level: list[int] = []  # of each token; a parenthesis has that of what is around it
        opened: list[int] = []
        for at, word in enumerate(self.words):
            if _is(word, TokenType.R_PAREN) and opened:
                self.closing[opened.pop()] = at
            self.level.append(len(opened))
            if _is(word, TokenType.L_PAREN):
                opened.append(at)

    def kind(self, at: int) -> TokenType | None:
        return self.words[at].token_type if 0 <= at < len(self.words) else None

    def name(self, at: int) -> str:
        """A token's text in lower case; nothing for a quoted one, which is no word of the grammar."""
        quoted = self.kind(at) in (None, TokenType.IDENTIFIER, TokenType.STRING)
        return "" if quoted else self.words[at].text.lower()

    def source(self, first: int, last: int) -> str:
        """The text of tokens up to `last`, which is left out."""
        return self.sql[self.words[first].start : self.words[last - 1].end + 1] if first < last else ""

    def arguments(self, opening: int) -> list[tuple[int, int]]:
        """The tokens of what stands between a parenthesis' commas, as (first, last)."""
        end = self.closing.get(opening, len(self.words))
        return self.parts(opening + 1, end) if opening + 1 < end else []

    def parts(self, first: int, last: int) -> list[tuple[int, int]]:
        level = self.level[first]
        commas = [at for at in range(first, last) if self.level[at] == level and self.kind(at) is TokenType.COMMA]
        return list(zip([first, *(at + 1 for at in commas)], [*commas, last], strict=True))

    # --- Writing ---

    def written(self) -> str:
        """The whole text."""
        if not self.words:
            return self.sql
        end = self.words[-1].end + 1
        return self.sql[: self.words[0].start] + self.write(0, len(self.words)) + self.sql[end:]

    def write(self, first: int, last: int) -> str:
        """Some of the tokens as MariaDB reads them. Raises NoForm, RecursionError."""
        pieces: list[str] = []
        at = begun = first
        while at < last:
            form = self.form(at)
            if form is None:
                at += 1
                continue
            written, after = form
            pieces += [self.sql[self.words[begun].start : self.words[at].start], written]
            if sum(map(len, pieces)) > LONGEST:
                raise NoForm(TOO_LARGE, "too_large")
            begun = at = after
            if after < last:  # the space before what follows
                pieces.append(self.sql[self.words[after - 1].end + 1 : self.words[after].start])
        return "".join([*pieces, self.source(begun, last)])

    def form(self, at: int) -> tuple[str, int] | None:
        """What is written in place of the construct that begins at a token, and where it ends; None for no such."""
        if (name := _COLLATIONS.get(self.name(at))) is not None:
            return name, at + 1
        if self.kind(at) is TokenType.VALUES:
            return self.constructed(at)
        if at == 0 and self.name(0) == "table":
            return "SELECT * FROM", 1
        if self.kind(at + 2) is TokenType.OVER and (self.name(at), self.name(at + 1)) in _DEFAULTS:
            return "", at + 2
        if self.kind(at) in _NAMES and self.kind(at - 1) is not TokenType.DOT:
            return self.call(at) if self.kind(at + 1) is TokenType.L_PAREN else self.field(at)
        return self.derived(at) if self.kind(at) is TokenType.L_PAREN else None

    def constructed(self, at: int) -> tuple[str, int] | None:
        """`VALUES ROW(…), ROW(…)`, with MySQL's own names of the columns."""
        rows, end = [], at + 1
        while self.name(end) == "row" and end + 1 in self.closing:
            rows.append([self.write(*place) for place in self.arguments(end + 1)])
            end = self.closing[end + 1] + 1
            if self.kind(end) is not TokenType.COMMA or self.name(end + 1) != "row":
                break
            end += 1
        if not rows:
            return None
        first = [f"{value} AS column_{number}" for number, value in enumerate(rows[0])]
        return " UNION ALL ".join(f"SELECT {', '.join(row)}" for row in [first, *rows[1:]]), end

    @cached_property
    def sort_keys(self) -> frozenset[int]:
        """The first tokens of what rows are sorted by, or the least and greatest are asked of."""
        found, sorting = set(), [False]
        for at, word in enumerate(self.words):
            if _is(word, TokenType.L_PAREN):
                sorting.append(False)
                if self.name(at - 1) in ("max", "min"):
                    found.add(at + 1)
            elif _is(word, TokenType.R_PAREN) and len(sorting) > 1:
                sorting.pop()
            elif _is(word, TokenType.ORDER_BY, TokenType.SELECT, *_AFTER_ORDER):
                sorting[-1] = _is(word, TokenType.ORDER_BY)
            if sorting[-1] and _is(word, TokenType.ORDER_BY, TokenType.COMMA):
                found.add(at + 1)
        return frozenset(found)

    def field(self, at: int) -> tuple[str, int] | None:
        """`t.j->'$.a'`. Raises NoForm where the value's order counts, which MariaDB takes for that of its text."""
        end = at + 1
        while self.kind(end) is TokenType.DOT and self.kind(end + 1) in _NAMES:
            end += 2
        if self.kind(end) not in (TokenType.ARROW, TokenType.DARROW) or self.kind(end + 1) is not TokenType.STRING:
            return None
        value = f"JSON_EXTRACT({self.source(at, end)}, {self.source(end + 1, end + 2)})"
        if self.kind(end) is TokenType.DARROW:
            return f"JSON_UNQUOTE({value})", end + 2
        if at in self.sort_keys:
            raise NoForm("the order of JSON values (->) has no form in MariaDB")
        return value, end + 2

    def derived(self, at: int) -> tuple[str, int] | None:
        """`FROM (query) AS q(x, y)`."""
        close = self.closing.get(at)
        if close is None or self.kind(at + 1) not in _QUERIES or self.kind(at - 1) not in (
            TokenType.FROM, TokenType.JOIN, TokenType.COMMA, TokenType.STRAIGHT_JOIN,
        ):  # fmt: skip
            return None
        named = close + 1 + (self.kind(close + 1) is TokenType.ALIAS)
        if self.kind(named) not in _NAMES:
            return None
        name, end = self.source(named, named + 1), self.closing.get(named + 1)
        if end is None or not all(self.kind(a) in _NAMES and b == a + 1 for a, b in self.arguments(named + 1)):
            return None
        columns = self.source(named + 2, end)
        return f"(WITH {name}({columns}) AS ({self.write(at + 1, close)}) SELECT * FROM {name}) AS {name}", end + 1

    def call(self, at: int) -> tuple[str, int] | None:
        """A function that MariaDB does not have, or has in another form."""
        name, close = self.name(at), self.closing.get(at + 1)
        if name not in ("regexp_like", "regexp_substr", "regexp_replace", "any_value", "lag", "lead", "cast"):
            return None
        if close is None:
            return None
        places = self.arguments(at + 1)
        if name == "cast":
            if self.name(close - 1) != "real" or self.kind(close - 2) is not TokenType.ALIAS:
                return None
            return f"{self.source(at, at + 1)}({self.write(at + 2, close - 2)} AS DOUBLE)", close + 1
        if name == "regexp_replace":
            return self.replacement(at, places, close)
        match name, len(places):
            case "any_value", 1 if self.kind(close + 1) is not TokenType.OVER:
                return f"({self.write(*places[0])})", close + 1
            case "regexp_like", 2:
                text, pattern = (self.write(*place) for place in places)
                return f"(({text}) REGEXP ({pattern}))", close + 1
            case "regexp_like", 3 if (flags := self.flags(*places[2])) is not None:
                text, pattern = (self.write(*place) for place in places[:2])
                return f"(({text}) REGEXP CONCAT('{flags}', {pattern}))", close + 1
            case "regexp_substr", 2:
                text, pattern = (self.write(*place) for place in places)
                return f"IF(({text}) REGEXP ({pattern}), REGEXP_SUBSTR({text}, {pattern}), NULL)", close + 1
            case "lag" | "lead", 3 if self.kind(close + 1) is TokenType.OVER:
                end = self.closing.get(close + 2, close + 2) + 1
                value, rows, other = (self.write(*place) for place in places)
                over = self.write(close + 1, end)
                return f"IF({name}(1, {rows}) {over} IS NULL, {other}, {name}({value}, {rows}) {over})", end
        return None

    def replacement(self, at: int, places: list[tuple[int, int]], close: int) -> tuple[str, int] | None:
        """REGEXP_REPLACE with a literal that names groups: $1 is \\1."""
        if len(places) != 3 or self.kind(places[2][0]) is not TokenType.STRING or places[2][1] != places[2][0] + 1:
            return None
        literal = self.source(*places[2])
        if "\\" in literal or not re.search(r"\$\d", literal):
            return None
        text, pattern = (self.write(*place) for place in places[:2])
        groups = re.sub(r"\$(\d)", r"\\\\\1", literal)
        return f"{self.source(at, at + 1)}({text}, {pattern}, {groups})", close + 1

    def flags(self, first: int, last: int) -> str | None:
        """PCRE's for MySQL's match type; None for one that is computed, or ends lines by \\n alone (u)."""
        if self.kind(first) is not TokenType.STRING or last != first + 1 or set(self.words[first].text) - set("cimn"):
            return None
        letters = self.words[first].text
        case = next(("-i" if letter == "c" else "i" for letter in reversed(letters) if letter in "ci"), "")
        return f"(?{'m' * ('m' in letters)}{'s' * ('n' in letters)}{case})" if letters else ""

    # --- An alias in an ORDER BY ---

    def named(self, order: int, alias: str) -> Iterable[tuple[int, int, str]]:
        """Where an ORDER BY names its own query's item by an alias, as (start, end, the item's expression)."""
        level, select = self.level[order], order
        while not (self.level[select] == level and _is(self.words[select], TokenType.SELECT)):
            select -= 1
            if select < 0 or self.level[select] < level or self.kind(select) in _SET_OPERATIONS:
                return
        first = select + 1 + (self.kind(select + 1) in (TokenType.DISTINCT, TokenType.ALL))
        ends = (at for at in range(first, order) if self.level[at] == level and self.kind(at) is TokenType.FROM)
        items: dict[str, str] = {}
        for a, b in self.parts(first, next(ends, order)):
            end = b - 1 - (self.kind(b - 2) is TokenType.ALIAS)
            if a < end:
                items.setdefault(self.words[b - 1].text.lower(), self.source(a, end))
        at = order + 1
        while at < len(self.words) and self.level[at] >= level:
            if self.level[at] == level and self.kind(at) in _AFTER_ORDER:
                return
            if self.kind(at) is TokenType.L_PAREN and self.kind(at + 1) in (TokenType.SELECT, TokenType.WITH):
                at = self.closing.get(at, at)  # a subquery has names of its own
            word, dot = self.words[at], TokenType.DOT
            bare = self.kind(at - 1) is not dot and self.kind(at + 1) not in (dot, TokenType.L_PAREN)
            if bare and not _is(word, TokenType.STRING) and word.text.lower() == alias.lower() in items:
                yield word.start, word.end + 1, items[alias.lower()]
            at += 1
