"""What the generated questions ask: each intent writes a query over any schema and the words that go with it.

An intent is a function from a `Draw` (one row in the making) to the gold SQL and the slots of its templates, or None
when the drawn tables do not give it a question with a telling answer (one that a missing or a wrong condition would
change). Templates stand with the intent: several phrasings in English and in Korean. Korean particles that depend on
the sound before them are written as [을/를] and settled at the end.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from text2sql.sources.synthetic_schemas import Column, Schema, Table
from text2sql.sql.spelling import literal

Built = tuple[str, dict[str, str]] | None

# SQL name → English word, Korean word, the function
AGGREGATES: dict[str, tuple[str, str, Callable[[Sequence], float]]] = {
    "SUM": ("total", "합계", sum),
    "AVG": ("average", "평균", lambda values: sum(values) / len(values)),
    "MIN": ("lowest", "최솟값", min),
    "MAX": ("highest", "최댓값", max),
}
COPULA = ("인", "이고", "이거나")  # Korean endings: before a noun, before "and", before "or"
PARTICLE = re.compile(r"\[([^/\]]+)/([^\]]+)\]")
NOT_SPOKEN = "'\")"


class Intent(NamedTuple):
    name: str
    complexity: str
    weight: float
    build: Callable[["Draw"], Built]
    english: tuple[str, ...]
    korean: tuple[str, ...]


class Condition(NamedTuple):
    """A condition on one column: its SQL, the positions of the rows that meet it, and its words.

    `phrase` follows the noun in English and stands before it in Korean; `clause` and `endings` join two conditions.
    """

    column: Column
    sql: str
    rows: list[int]
    phrase: str
    clause: str
    endings: tuple[str, str, str]


class Draw:
    """One row in the making: its source of chance, schema, cells (table → column → values) and language.

    With `empty` set, conditions name values that no row has. Cells are drawn where they are not given.
    """

    def __init__(
        self,
        rng: Random,
        schema: Schema,
        korean: bool,
        empty: bool = False,
        cells: dict[str, dict[str, list]] | None = None,
    ):
        self.rng, self.schema, self.korean, self.empty = rng, schema, korean, empty
        self.quotes = korean or rng.random() < 0.5
        self.cells = fill(rng, schema) if cells is None else cells

    def pick(self, items: Sequence):
        return items[int(self.rng.random() * len(items))] if items else None

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def size(self, table: Table) -> int:
        return len(next(iter(self.cells[table.name].values())))

    def values(self, table: Table, column: Column) -> list:
        return self.cells[table.name][column.name]

    def word(self, column: Column) -> str:
        return column.korean if self.korean else column.label

    def owner(self, table: Table) -> str:
        """What stands before a column of another table to say whose it is: "author's ", "작가 "."""
        return f"{table.korean} " if self.korean else f"{table.one}'s "

    def listing(self, columns: Sequence[Column]) -> dict[str, str]:
        """The words for the columns to return, and the English verb that agrees with them."""
        joined = ("[과/와] " if self.korean else " and ").join(self.word(c) for c in columns)
        return {"cols": joined, "be": "is" if len(columns) == 1 else "are"}

    def value(self, value: str | float) -> str:
        return f"'{value}'" if isinstance(value, str) and self.quotes else str(value)

    def things(self, table: Table) -> dict[str, str]:
        many, one = (table.korean, table.korean) if self.korean else (table.label, table.one)
        return {"things": many, "thing": one, "unit": table.counter}

    def either(self, english: str, korean: str) -> str:
        return korean if self.korean else english

    def columns(self, table: Table, avoid: Sequence[Column] = ()) -> list[Column]:
        """One or two columns to return, in random order; keys only where nothing else tells the rows apart."""
        offered = [c for c in table.shown if c not in avoid]
        if not offered or (table.identity and table.identity not in (*offered, *avoid)):
            offered += [c for c in table.columns if c.kind in ("key", "ref")]
        count = min(len(offered), 2 if self.chance(0.45) else 1)
        return self.rng.sample(offered, count)

    def relation(self) -> tuple:
        """A random (child, foreign key, parent); three times None where the schema has none."""
        return self.pick(self.schema.relations) or (None, None, None)

    def parents(self, child: Table, ref: Column, parent: Table) -> list[int | None]:
        """For each row of `child` the position of its row in `parent`, None where it has none."""
        position = {value: k for k, value in enumerate(self.values(parent, parent.target))}
        return [position.get(value) for value in self.values(child, ref)]

    def condition(self, table: Table, owned: bool = False, qualified: bool = False, avoid: Sequence[Column] = ()):
        """A condition on a random column that some rows meet and some do not (none, in an `empty` draw), or None.

        `owned` names the table in the question (as a parent's), `qualified` in the SQL.
        """
        offered = [c for c in table.shown if c.kind != "code" and c not in avoid]
        column = self.pick(offered)
        if column is None:
            return None
        values = self.values(table, column)
        found = self._absent(column, values) if self.empty else self._telling(column, values)
        if found is None:
            return None
        test, met, english, with_word, korean, endings = found
        rows = [k for k, value in enumerate(values) if met(value)]
        if not self.empty and not 0 < len(rows) < len(values):
            return None
        sql = test.replace("@", f"{table.name}.{column.name}" if qualified or owned else column.name)
        if self.korean:
            clause = f"{f'{table.korean}의 ' if owned else ''}{column.korean}{korean}"
            return Condition(column, sql, rows, clause + endings[0], clause, endings)
        clause = f"{self.owner(table) if owned else ''}{column.label} {english}"
        if not owned and with_word and self.chance(0.45):
            phrase = with_word.replace("@", column.label).replace("a/an", article(column.label))
        elif not owned and self.chance(0.2):
            phrase = f"where the {clause}"
        else:
            phrase = f"whose {clause}"
        return Condition(column, sql, rows, phrase, clause, endings)

    def _telling(self, column: Column, values: list):
        """(SQL, test of a value, English predicate, English "with …" form, Korean predicate, Korean endings)."""
        known = sorted({value for value in values if value is not None})
        if column.nullable and self.chance(0.5):
            if self.chance(0.6):
                ending = self.pick((("없는", "없고", "없거나"), ("비어 있는", "비어 있고", "비어 있거나")))
                return "@ IS NULL", lambda v: v is None, "is missing", "with no @", "[이/가] ", ending
            ending = ("있는", "있고", "있거나")
            return "@ IS NOT NULL", lambda v: v is not None, "is known", "with a known @", "[이/가] ", ending
        if column.kind == "category":
            return self._category(column, known)
        if column.kind == "name":
            return self._name(known)
        if len(known) < 4:
            return None
        return self._range(column, known)

    def _category(self, column: Column, known: list[str]):
        kind = self.rng.random()
        if kind < 0.2 and len(known) > 2:
            a, b = self.rng.sample(known, 2)
            listed = f"{self.value(a)} or {self.value(b)}"
            korean = f"[이/가] {self.value(a)} 또는 {self.value(b)}"
            pair = f"@ IN ({literal(a)}, {literal(b)})"
            return pair, lambda v: v in (a, b), f"is {self.pick(('', 'either '))}{listed}", "", korean, COPULA
        a = self.pick(known)
        if kind < 0.3 and not column.nullable:  # whether a NULL is not 'x' would be a matter of opinion
            ending = ("아닌", "아니고", "아니거나")
            test = f"@ != {literal(a)}"
            return (
                test,
                lambda v: v != a,
                f"is not {self.value(a)}",
                "",
                f"[이/가] {self.value(a)}[이/가] ",
                ending,
            )
        return self._equal(a)

    def _equal(self, a: str):
        said = self.value(a)
        return f"@ = {literal(a)}", lambda v: v == a, f"is {said}", f"with the @ {said}", f"[이/가] {said}", COPULA

    def _name(self, known: list[str]):
        a, kind = self.pick(known), self.rng.random()
        if kind < 0.25:
            return self._equal(a)
        if kind < 0.6:
            part = a[: self.pick((1, 2))].strip()
            ending = ("시작하는", "시작하고", "시작하거나")
            test, words = f"@ LIKE '{part}%'", ("starts with", "starting with")
            return (
                test,
                lambda v: v.lower().startswith(part.lower()),
                f"{words[0]} '{part}'",
                f"with a/an @ {words[1]} '{part}'",
                f"[이/가] '{part}'[으로/로] ",
                ending,
            )
        if kind < 0.75:
            part = a[-2:].strip()
            ending = ("끝나는", "끝나고", "끝나거나")
            return (
                f"@ LIKE '%{part}'",
                lambda v: v.lower().endswith(part.lower()),
                f"ends with '{part}'",
                f"with a/an @ ending in '{part}'",
                f"[이/가] '{part}'[으로/로] ",
                ending,
            )
        start = int(self.rng.random() * (len(a) - 1))
        part = a[start : start + 3].strip()
        ending = ("포함하는", "포함하고", "포함하거나")
        return (
            f"@ LIKE '%{part}%'",
            lambda v: part.lower() in v.lower(),
            f"contains '{part}'",
            f"with a/an @ containing '{part}'",
            f"[이/가] '{part}'[을/를] ",
            ending,
        )

    def _range(self, column: Column, known: list):
        """A comparison whose bound is a value of the data, so that > and >= differ."""
        temporal, unit = column.kind in ("date", "year"), "년" if column.kind == "year" else ""
        kind, last = self.rng.random(), len(known) - 1
        if kind < 0.15 and column.kind == "date":
            chosen = self.pick(known)[:4]
            year = f"strftime('%Y', @) = '{chosen}'"
            met = lambda v: v is not None and v.startswith(chosen)  # noqa: E731
            return year, met, f"is in {chosen}", f"with a/an @ in {chosen}", f"[이/가] {chosen}년", COPULA
        if kind < 0.3:
            low, high = sorted(self.rng.sample(range(last + 1), 2))
            if high - low == last:
                return None
            a, b = known[low], known[high]
            test = f"@ BETWEEN {literal(a)} AND {literal(b)}"
            korean = self.pick((f"{a}에서 {b} 사이", f"{a} 이상 {b} 이하"))
            if temporal:
                korean = f"{a}{unit}부터 {b}{unit}까지"
            met = lambda v: v is not None and a <= v <= b  # noqa: E731
            return test, met, f"is between {a} and {b}", f"with a/an @ between {a} and {b}", f"[이/가] {korean}", COPULA
        sign = self.pick((">", "<", ">", "<", ">=", "<="))
        bound = known[int(self.rng.random() * last) + (sign in ("<", ">="))]
        return self._compare(sign, bound, column.kind)

    def _compare(self, sign: str, bound, kind: str):
        temporal = kind in ("date", "year")
        test = f"@ {sign} {literal(bound)}"
        met = {
            ">": lambda v: v is not None and v > bound,
            "<": lambda v: v is not None and v < bound,
            ">=": lambda v: v is not None and v >= bound,
            "<=": lambda v: v is not None and v <= bound,
        }[sign]
        english, korean, endings = self.pick((DATE_WORDS if temporal else NUMBER_WORDS)[sign])
        korean = f"[이/가] {korean.format(f'{bound}년' if kind == 'year' else bound)}"
        english = english.format(bound)
        with_word = f"with a/an @ {'of ' if sign in ('>=', '<=') else ''}{english}"
        return test, met, f"is {english}", with_word, korean, endings

    def _absent(self, column: Column, values: list):
        """Like `_telling`, but no row meets it."""
        known = sorted(value for value in values if value is not None)
        if column.kind in ("category", "name"):
            left = [value for value in column.values if value not in known]
            return self._equal(self.pick(left)) if left else None
        sign = self.pick((">", "<"))
        return self._compare(sign, known[-1] if sign == ">" else known[0], column.kind)


LARGER, SMALLER = ("큰", "크고", "크거나"), ("작은", "작고", "작거나")
NUMBER_WORDS = {
    ">": (
        ("above {}", "{}보다 ", LARGER),
        ("greater than {}", "{} 초과", COPULA),
        ("more than {}", "{}[을/를] ", ("넘는", "넘고", "넘거나")),
    ),
    "<": (("below {}", "{}보다 ", SMALLER), ("less than {}", "{} 미만", COPULA), ("under {}", "{}보다 ", SMALLER)),
    ">=": (("at least {}", "{} 이상", COPULA), ("{} or more", "{} 이상", COPULA)),
    "<=": (("at most {}", "{} 이하", COPULA), ("{} or less", "{} 이하", COPULA)),
}
LATER, EARLIER = ("늦은", "늦고", "늦거나"), ("이른", "이르고", "이르거나")
DATE_WORDS = {
    ">": (("after {}", "{}보다 ", LATER), ("later than {}", "{}보다 ", LATER)),
    "<": (("before {}", "{}보다 ", EARLIER), ("earlier than {}", "{}보다 ", EARLIER)),
    ">=": (("{} or later", "{} 또는 그 이후", COPULA),),
    "<=": (("{} or earlier", "{} 또는 그 이전", COPULA),),
}


def fill(rng: Random, schema: Schema) -> dict[str, dict[str, list]]:
    """Cells for every table, by column. Names, measures, years and dates are distinct; every parent table may hold
    a row that nothing refers to; a nullable column has one or two NULLs."""
    cells: dict[str, dict[str, list]] = {}
    for table in schema.tables:
        count = rng.choice((6, 7, 8)) if table.refs or len(schema.tables) == 1 else rng.choice((4, 5, 6))
        for column in table.columns:
            if column.kind in ("name", "code"):
                count = min(count, len(column.values))
        filled: dict[str, list] = {}
        cells[table.name] = filled
        pairs: Iterator[tuple] = iter(())
        if table.key is None and len(table.refs) == 2:
            left, right = ([*referred(rng, schema, cells, ref)] for ref in table.refs)
            drawn = rng.sample([(a, b) for a in left for b in right], min(count, len(left) * len(right)))
            count = len(drawn)
            pairs = zip(*drawn, strict=True)
        for column in table.columns:
            values = column.values
            cell: list
            if column.kind == "key":
                cell = list(range(1, count + 1))
            elif column.kind == "ref" and column.table == table.name:
                cell = [rng.randint(1, count) for _ in range(count)]
            elif column.kind == "ref":
                cell = list(next(pairs, ())) or rng.choices(referred(rng, schema, cells, column), k=count)
            elif column.kind == "category":
                cell = rng.choices(values, k=count)
                if len(set(cell)) == 1:
                    cell[rng.randrange(count)] = values[values.index(cell[0]) - 1]
            else:
                cell = rng.sample(values, count)
            if column.nullable:
                for k in rng.sample(range(count), rng.choice((1, 2))):
                    cell[k] = None
            filled[column.name] = cell
    return cells


def referred(rng: Random, schema: Schema, cells: dict, ref: Column) -> list:
    """The parent's keys that rows refer to: most of them."""
    keys = cells[ref.table][schema.by_name[ref.table].target.name]
    return rng.sample(keys, len(keys) - rng.choice((0, 1, 1, 2)))


def article(noun: str) -> str:
    return "an" if noun[0] in "aeio" or noun.startswith("hour") else "a"


def settle_particles(text: str) -> str:
    """Settles [을/를] and the like: the first form after a final consonant, the second after a vowel.

    After a digit or a Latin letter it goes by how Korean reads it; [으로/로] takes 로 after ㄹ.
    """

    def form(match: re.Match) -> str:
        before = text[: match.start()].rstrip(NOT_SPOKEN)[-1:].lower()
        if "가" <= before <= "힣":
            final = (ord(before) - ord("가")) % 28
        else:
            final = {**dict.fromkeys("178lr", 8), **dict.fromkeys("036mn", 1)}.get(before, 0)
        return match[2] if final == 0 or (final == 8 and match[1] == "으로") else match[1]

    return PARTICLE.sub(form, text)


def between(low: float, high: float) -> float | None:
    """The roundest number strictly between the two; None where three decimals do not suffice."""
    middle = (low + high) / 2
    for digits in range(-4, 4):
        value = round(middle, digits)
        if low < value < high:
            return int(value) if digits <= 0 else value
    return None


def groups(keys: list, values: list) -> dict:
    """values by key."""
    grouped: dict = {}
    for one, value in zip(keys, values, strict=True):
        grouped.setdefault(one, []).append(value)
    return grouped


def aggregate(function: str, values: Sequence) -> float | None:
    known = [value for value in values if value is not None]
    return AGGREGATES[function][2](known) if known else None


INTENTS: list[Intent] = []


def intent(complexity: str, weight: float, english: Sequence[str], korean: Sequence[str]):
    """Registers the function below it as an intent, drawn with `weight` among those of its complexity."""

    def register(build: Callable[[Draw], Built]) -> Callable[[Draw], Built]:
        INTENTS.append(Intent(build.__name__, complexity, weight, build, tuple(english), tuple(korean)))
        return build

    return register


FILTERED_EN = (
    "List the {cols} of {things} {where}.",
    "What {be} the {cols} of each {thing} {where}?",
    "Show the {cols} of every {thing} {where}.",
    "Find all {things} {where} and return their {cols}.",
    "Give me the {cols} for {things} {where}.",
)
FILTERED_KO = (
    "{where} {things}의 {cols}[을/를] 알려 줘.",
    "{where} {things}의 {cols}[을/를] 모두 조회해 주세요.",
    "{where} {things}[을/를] 찾아 {cols}[을/를] 보여 주세요.",
    "{where} {things}의 {cols}[은/는] 무엇인가요?",
)


# ---------------------------------------------------------------------------------------------------- basic SQL
@intent("basic SQL", 6, FILTERED_EN, FILTERED_KO)
def filtered(d: Draw) -> Built:
    table = d.pick(d.schema.tables)
    where = d.condition(table)
    if where is None:
        return None
    columns = d.columns(table, avoid=[where.column])
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {where.sql}"
    return sql, {**d.listing(columns), "where": where.phrase, **d.things(table)}


@intent(
    "basic SQL",
    1,
    (
        "Show all details of {things} {where}.",
        "Return every column for {things} {where}.",
        "Give me the full records of {things} {where}.",
    ),
    (
        "{where} {things}의 모든 정보를 보여 줘.",
        "{where} {things}의 전체 열을 조회해 주세요.",
        "{where} {things} 데이터를 모든 열과 함께 출력하세요.",
    ),
)
def all_columns(d: Draw) -> Built:
    table = d.pick(d.schema.tables)
    where = d.condition(table)
    if where is None:
        return None
    return f"SELECT * FROM {table.name} WHERE {where.sql}", {"where": where.phrase, **d.things(table)}


@intent("basic SQL", 2.5, FILTERED_EN, FILTERED_KO)
def two_conditions(d: Draw) -> Built:
    table = d.pick(d.schema.tables)
    first = d.condition(table)
    second = d.condition(table, avoid=[first.column]) if first else None
    if second is None:
        return None
    both = d.empty or d.chance(0.7)
    met = set(first.rows) & set(second.rows) if both else set(first.rows) | set(second.rows)
    if not d.empty and (len(met) in (0, d.size(table)) or met in (set(first.rows), set(second.rows))):
        return None
    columns = d.columns(table, avoid=[first.column, second.column])
    word = "and" if both else "or"
    if d.korean:
        phrase = f"{first.clause}{first.endings[1 if both else 2]} {second.clause}{second.endings[0]}"
    else:
        phrase = f"whose {first.clause} {word} whose {second.clause}"
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {first.sql} {word.upper()} {second.sql}"
    return sql, {**d.listing(columns), "where": phrase, **d.things(table)}


@intent(
    "basic SQL",
    1.5,
    (
        "What {be} the {cols} of the {thing} whose {key} is {value}?",
        "Tell me the {cols} of the {thing} {value}.",
        "For the {thing} with {key} {value}, return the {cols}.",
    ),
    (
        "{thing} {value}의 {cols}[은/는] 무엇인가요?",
        "{key}[이/가] {value}인 {thing}의 {cols}[을/를] 알려 줘.",
        "{key} {value}에 해당하는 {thing}의 {cols}[을/를] 보여 주세요.",
    ),
)
def lookup(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.identity and t.identity.kind in ("name", "code")])
    if table is None:
        return None
    key, used = table.identity, d.values(table, table.identity)
    value = d.pick([v for v in key.values if v not in used] if d.empty else used)
    columns = d.columns(table, avoid=[key])
    if value is None:
        return None
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {key.name} = {literal(value)}"
    return sql, {**d.listing(columns), "key": d.word(key), "value": d.value(value), **d.things(table)}


@intent(
    "basic SQL",
    2,
    (
        "Show the {cols} of the {n} {things} with the {most} {by}, {most} first.",
        "Which {n} {things} have the {most} {by}? Return their {cols}, starting with the {most}.",
        "Sort the {things} by {by} from {most} to {least} and give the {cols} of the first {n}.",
    ),
    (
        "{by} 값이 가장 {most} {things} {n}{unit}의 {cols}[을/를] {most} 것부터 보여 줘.",
        "{things}[을/를] {by} {order}으로 정렬하여 처음 {n}{unit}의 {cols}[을/를] 알려 주세요.",
        "{by} {order} 기준 상위 {n}{unit}의 {things}에 대해 {cols}[을/를] 조회하세요.",
    ),
)
def top(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.ordered])
    if table is None:
        return None
    by = d.pick(table.ordered)
    columns, direction = d.columns(table), d.pick(("DESC", "DESC", "ASC"))
    n = d.pick((2, 3, 4 if d.size(table) > 4 else 3))
    sql = f"SELECT {names(columns)} FROM {table.name} ORDER BY {by.name} {direction} LIMIT {n}"
    return sql, {**d.listing(columns), "n": str(n), **ordering(d, by, direction), **d.things(table)}


@intent(
    "basic SQL",
    1.2,
    (
        "Which {thing} has the {most} {by}? Return its {cols}.",
        "What {be} the {cols} of the {thing} with the {most} {by}?",
        "Find the {thing} that has the {most} {by} and show its {cols}.",
    ),
    (
        "{by} 값이 가장 {most} {thing}의 {cols}[은/는] 무엇인가요?",
        "{by} 값이 가장 {most} {thing} 1{unit}의 {cols}[을/를] 알려 줘.",
        "{things} 중 {by} 값이 가장 {most} {thing}[을/를] 찾아 {cols}[을/를] 보여 주세요.",
    ),
)
def extreme(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.ordered])
    if table is None:
        return None
    by = d.pick(table.ordered)
    columns, direction = d.columns(table, avoid=[by]), d.pick(("DESC", "ASC"))
    sql = f"SELECT {names(columns)} FROM {table.name} ORDER BY {by.name} {direction} LIMIT 1"
    return sql, {**d.listing(columns), **ordering(d, by, direction), **d.things(table)}


@intent(
    "basic SQL",
    1.5,
    (
        "List the {cols} of {things} {where}, sorted by {by} from {most} to {least}.",
        "In {order} order of {by}, show the {cols} of {things} {where}.",
        "For {things} {where}, return the {cols} ordered by {by}, {most} first.",
    ),
    (
        "{where} {things}의 {cols}[을/를] {by} {order}으로 정렬해 줘.",
        "{where} {things}[을/를] {by} {order}으로 나열하고 {cols}[을/를] 보여 주세요.",
        "{by} {order}으로 {where} {things}의 {cols}[을/를] 조회하세요.",
    ),
)
def sorted_filtered(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.ordered])
    where = d.condition(table) if table else None
    if where is None or (not d.empty and len(where.rows) < 2):
        return None
    by = d.pick(table.ordered)
    columns, direction = d.columns(table), d.pick(("DESC", "ASC"))
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {where.sql} ORDER BY {by.name} {direction}"
    return sql, {**d.listing(columns), "where": where.phrase, **ordering(d, by, direction), **d.things(table)}


@intent(
    "basic SQL",
    1,
    (
        "What are the different {col} values of the {things}?",
        "List each distinct {col} of the {things} once.",
        "Without repeats, show the {col} values found among the {things}.",
    ),
    (
        "{things}의 {col}[을/를] 중복 없이 나열해 줘.",
        "{things}에 나오는 서로 다른 {col}[을/를] 모두 보여 주세요.",
        "{things}의 {col}에는 어떤 값들이 있나요? 중복은 빼고 알려 주세요.",
    ),
)
def distinct(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.categories])
    if table is None:
        return None
    column = d.pick(table.categories)
    if len(set(d.values(table, column))) == d.size(table):
        return None
    return f"SELECT DISTINCT {column.name} FROM {table.name}", {"col": d.word(column), **d.things(table)}


@intent(
    "basic SQL",
    0.8,
    (
        "What are the different {col} values of {things} {where}?",
        "List each distinct {col} of {things} {where}.",
        "Without repeats, which {col} values do {things} {where} have?",
    ),
    (
        "{where} {things}의 {col}[을/를] 중복 없이 나열해 줘.",
        "{where} {things}에 나오는 서로 다른 {col}[을/를] 모두 보여 주세요.",
        "{where} {things}의 {col} 값을 중복은 빼고 알려 주세요.",
    ),
)
def distinct_filtered(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.categories])
    column = d.pick(table.categories if table else ())
    where = d.condition(table, avoid=[column]) if table else None
    if where is None:
        return None
    values = d.values(table, column)
    if not d.empty and {values[k] for k in where.rows} == set(values):
        return None
    sql = f"SELECT DISTINCT {column.name} FROM {table.name} WHERE {where.sql}"
    return sql, {"col": d.word(column), "where": where.phrase, **d.things(table)}


# -------------------------------------------------------------------------------------------------- aggregation
@intent(
    "aggregation",
    3,
    (
        "How many {things} are there {where}?",
        "Count the {things} {where}.",
        "What is the number of {things} {where}?",
    ),
    (
        "{where} {things}[은/는] 모두 몇 {unit}인가요?",
        "{where} {things}의 수를 구하세요.",
        "{where} {things}[이/가] 몇 {unit}인지 세어 줘.",
    ),
)
def count_filtered(d: Draw) -> Built:
    table = d.pick(d.schema.tables)
    where = d.condition(table)
    if where is None:
        return None
    return f"SELECT COUNT(*) FROM {table.name} WHERE {where.sql}", {"where": where.phrase, **d.things(table)}


@intent(
    "aggregation",
    3,
    (
        "What is the {what} of {things} {where}?",
        "Find the {what} for {things} {where}.",
        "Taking only {things} {where}, compute the {what}.",
    ),
    (
        "{where} {things}의 {what}[은/는] 얼마인가요?",
        "{where} {things}의 {what}[을/를] 구해 줘.",
        "{where} {things}만 골라 {what}[을/를] 계산하세요.",
    ),
)
def measure_filtered(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.measures])
    where = d.condition(table) if table else None
    if where is None:
        return None
    measure = d.pick(table.measures)
    function, values = d.pick(measure.aggregates), d.values(table, measure)
    some = aggregate(function, [values[k] for k in where.rows])
    if where.column is measure or some is None or some == aggregate(function, values):
        return None
    sql = f"SELECT {function}({measure.name}) FROM {table.name} WHERE {where.sql}"
    return sql, {"what": summary(d, function, measure), "where": where.phrase, **d.things(table)}


@intent(
    "aggregation",
    1.2,
    (
        "What is the {what} of all {things}?",
        "Compute the {what} over all {things}.",
        "Across every {thing}, what is the {what}?",
    ),
    (
        "전체 {things}의 {what}[은/는] 얼마인가요?",
        "모든 {things}의 {what}[을/를] 구해 줘.",
        "{things} 전체를 대상으로 {what}[을/를] 계산하세요.",
    ),
)
def measure_overall(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.measures])
    if table is None:
        return None
    measure = d.pick(table.measures)
    function = d.pick(measure.aggregates)
    sql = f"SELECT {function}({measure.name}) FROM {table.name}"
    return sql, {"what": summary(d, function, measure), **d.things(table)}


@intent(
    "aggregation",
    0.8,
    (
        "What are the lowest and the highest {m} of the {things}?",
        "Show the minimum {m} and the maximum {m} among the {things}.",
        "Return the smallest and then the largest {m} of all {things}.",
    ),
    (
        "{things}의 {m} 최솟값과 최댓값을 알려 줘.",
        "전체 {things}에서 가장 작은 {m} 값과 가장 큰 {m} 값은 얼마인가요?",
        "{things}의 {m}에 대해 최솟값, 최댓값을 차례로 구하세요.",
    ),
)
def lowest_and_highest(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.measures])
    if table is None:
        return None
    measure = d.pick(table.measures)
    sql = f"SELECT MIN({measure.name}), MAX({measure.name}) FROM {table.name}"
    return sql, {"m": d.word(measure), **d.things(table)}


@intent(
    "aggregation",
    0.8,
    (
        "How many different {col} values do the {things} have?",
        "Count the distinct {col} values among the {things}.",
        "What is the number of unique {col} values of the {things}?",
    ),
    (
        "{things}에는 서로 다른 {col}[이/가] 몇 가지 있나요?",
        "{things}의 {col} 종류 수를 중복 없이 세어 줘.",
        "중복을 제외한 {things}의 {col} 개수를 구하세요.",
    ),
)
def count_distinct(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.categories])
    column = d.pick(table.categories if table else ())
    if table is None or len(set(d.values(table, column))) == d.size(table):
        return None
    return f"SELECT COUNT(DISTINCT {column.name}) FROM {table.name}", {"col": d.word(column), **d.things(table)}


@intent(
    "aggregation",
    2,
    (
        "How many {things} are there for each {col}? Return the {col} and the count.",
        "For every {col}, show the {col} and the number of {things}.",
        "Count the {things} per {col}, listing the {col} first.",
    ),
    (
        "{col}별 {things} 수를 {col}[과/와] 함께 보여 줘.",
        "{col}마다 {things}[이/가] 몇 {unit}인지 {col}[과/와] 건수를 알려 주세요.",
        "{things}[을/를] {col}별로 묶어 {col}[과/와] 개수를 구하세요.",
    ),
)
def count_per_group(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.categories])
    if table is None:
        return None
    column = d.pick(table.categories)
    sql = f"SELECT {column.name}, COUNT(*) FROM {table.name} GROUP BY {column.name}"
    return sql, {"col": d.word(column), **d.things(table)}


@intent(
    "aggregation",
    2,
    (
        "What is the {what} of the {things} for each {col}? Return the {col} and the {what}.",
        "For every {col}, show the {col} and the {what} of its {things}.",
        "Group the {things} by {col} and give the {col} with the {what}.",
    ),
    (
        "{things}의 {col}별 {what}[을/를] {col}[과/와] 함께 보여 줘.",
        "{things}[을/를] {col}별로 묶어 {col}[과/와] {what}[을/를] 구하세요.",
        "{col}마다 {things}의 {what}[이/가] 얼마인지 {col}[과/와] 함께 알려 주세요.",
    ),
)
def measure_per_group(d: Draw) -> Built:
    picked = grouped_measure(d)
    if picked is None:
        return None
    table, column, measure, function = picked
    sql = f"SELECT {column.name}, {function}({measure.name}) FROM {table.name} GROUP BY {column.name}"
    return sql, {"col": d.word(column), "what": summary(d, function, measure), **d.things(table)}


@intent(
    "aggregation",
    1,
    (
        "Considering only {things} {where}, how many are there for each {col}? Return the {col} and the count.",
        "For {things} {where}, count them per {col} and show the {col} and the count.",
        "Show each {col} and the number of {things} {where}.",
    ),
    (
        "{where} {things}의 수를 {col}별로 구하고 {col}[과/와] 함께 보여 줘.",
        "{where} {things}[을/를] {col}별로 묶어 {col}[과/와] 개수를 구하세요.",
        "{where} {things}만 대상으로 {col}마다 몇 {unit}인지 {col}[과/와] 건수를 알려 주세요.",
    ),
)
def count_per_group_filtered(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.categories])
    column = d.pick(table.categories if table else ())
    where = d.condition(table, avoid=[column]) if table else None
    if where is None:
        return None
    sql = f"SELECT {column.name}, COUNT(*) FROM {table.name} WHERE {where.sql} GROUP BY {column.name}"
    return sql, {"col": d.word(column), "where": where.phrase, **d.things(table)}


@intent(
    "aggregation",
    1.2,
    (
        "Which {col} values occur more than {times} among the {things}?",
        "List every {col} found more than {times} in the {things}.",
        "Find each {col} with more than {n} {some}.",
    ),
    (
        "{things}[이/가] {n}{unit}[을/를] 넘는 {col}[을/를] 찾아 줘.",
        "{things} 수가 {n}보다 큰 {col}[을/를] 모두 보여 주세요.",
        "{n}{unit}보다 많은 {things}[이/가] 속한 {col}[은/는] 무엇인가요?",
    ),
)
def having_count(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.categories])
    if table is None:
        return None
    column = d.pick(table.categories)
    values = d.values(table, column)
    counts = sorted({values.count(value) for value in values})
    if len(counts) < 2:
        return None
    n = d.pick(counts[:-1])
    sql = f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING COUNT(*) > {n}"
    words = {"times": "once" if n == 1 else f"{n} times", "n": str(n), "some": table.one if n == 1 else table.label}
    return sql, {"col": d.word(column), **words, **d.things(table)}


@intent(
    "aggregation",
    1.2,
    (
        "Which {col} values have {a} {what} of {things} above {bound}?",
        "List every {col} where the {what} of the {things} is greater than {bound}.",
        "Find each {col} whose {things} have {a} {what} of more than {bound}.",
    ),
    (
        "{things}의 {what}[이/가] {bound}보다 큰 {col}[을/를] 찾아 줘.",
        "{col}별 {things}의 {what}[이/가] {bound}[을/를] 넘는 {col}[을/를] 보여 주세요.",
        "{things}의 {what}[이/가] {bound} 초과인 {col}[은/는] 무엇인가요?",
    ),
)
def having_measure(d: Draw) -> Built:
    picked = grouped_measure(d, ("SUM", "AVG"))
    if picked is None:
        return None
    table, column, measure, function = picked
    bound = splitting_bound(d, table, column, measure, function)
    if bound is None:
        return None
    test = f"{function}({measure.name}) > {bound}"
    sql = f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING {test}"
    what = summary(d, function, measure)
    return sql, {"col": d.word(column), "what": what, "a": article(what), "bound": str(bound), **d.things(table)}


@intent(
    "aggregation",
    1.2,
    (
        "Which {col} has the most {things}?",
        "Find the {col} with the largest number of {things}.",
        "What is the most frequent {col} among the {things}?",
    ),
    (
        "{things}[이/가] 가장 많은 {col}[은/는] 무엇인가요?",
        "{things} 수가 가장 많은 {col}[을/를] 알려 줘.",
        "{things}에서 가장 자주 나오는 {col}[을/를] 찾아 주세요.",
    ),
)
def largest_group(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.categories])
    if table is None:
        return None
    column = d.pick(table.categories)
    values = d.values(table, column)
    counts = sorted(values.count(value) for value in set(values))
    if len(counts) < 2 or counts[-1] == counts[-2]:
        return None
    sql = f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} ORDER BY COUNT(*) DESC LIMIT 1"
    return sql, {"col": d.word(column), **d.things(table)}


# -------------------------------------------------------------------------------------------------- single join
@intent("single join", 4, FILTERED_EN, FILTERED_KO)
def parent_filtered(d: Draw) -> Built:
    child, ref, parent = d.relation()
    where = d.condition(parent, owned=True)
    if where is None or not (d.empty or telling_rows(d, child, ref, parent, where)):
        return None
    columns = d.columns(child)
    sql = f"SELECT {names(columns, child)} FROM {join(child, ref, parent)} WHERE {where.sql}"
    return sql, {**d.listing(columns), "where": where.phrase, **d.things(child)}


@intent(
    "single join",
    2,
    (
        "For {things} {where}, show the {a} together with the {owner}{b}.",
        "List the {a} of {things} {where} and the {owner}{b}.",
        "Return the {a} and the {owner}{b} for each {thing} {where}.",
    ),
    (
        "{where} {things}의 {a}[과/와] {owner}{b}[을/를] 함께 보여 줘.",
        "{where} {things}에 대해 {a}[과/와] {owner}{b}[을/를] 조회하세요.",
        "{where} {things}의 {a}, 그리고 {owner}{b}[을/를] 알려 주세요.",
    ),
)
def with_parent_column(d: Draw) -> Built:
    child, ref, parent = d.relation()
    where = d.condition(child, qualified=True)
    if where is None:
        return None
    met = d.parents(child, ref, parent)
    if any(met[k] is None for k in where.rows):  # an inner and an outer join would differ
        return None
    left = d.pick([c for c in child.shown if c is not where.column])
    right = d.pick(parent.shown)
    if left is None:
        return None
    sql = f"SELECT {names([left], child)}, {names([right], parent)} FROM {join(child, ref, parent)} WHERE {where.sql}"
    words = {"a": d.word(left), "b": d.word(right), "owner": d.owner(parent), "where": where.phrase}
    return sql, {**words, **d.things(child)}


@intent(
    "single join",
    1.5,
    (
        "How many {things} are there {where}?",
        "Count the {things} {where}.",
        "What is the number of {things} {where}?",
    ),
    (
        "{where} {things}[은/는] 모두 몇 {unit}인가요?",
        "{where} {things}의 수를 구하세요.",
        "{where} {things}[이/가] 몇 {unit}인지 세어 줘.",
    ),
)
def count_by_parent(d: Draw) -> Built:
    child, ref, parent = d.relation()
    where = d.condition(parent, owned=True)
    if where is None or not telling_rows(d, child, ref, parent, where):
        return None
    sql = f"SELECT COUNT(*) FROM {join(child, ref, parent)} WHERE {where.sql}"
    return sql, {"where": where.phrase, **d.things(child)}


@intent(
    "single join",
    2,
    (
        "What is the {what} of {things} {where}?",
        "Find the {what} for {things} {where}.",
        "Taking only {things} {where}, compute the {what}.",
    ),
    (
        "{where} {things}의 {what}[은/는] 얼마인가요?",
        "{where} {things}의 {what}[을/를] 구해 줘.",
        "{where} {things}만 골라 {what}[을/를] 계산하세요.",
    ),
)
def measure_by_parent(d: Draw) -> Built:
    child, ref, parent = d.relation()
    measure = d.pick(child.measures)
    where = d.condition(parent, owned=True)
    rows = telling_rows(d, child, ref, parent, where) if where else []
    if not rows or measure is None:
        return None
    function, values = d.pick(measure.aggregates), d.values(child, measure)
    some = aggregate(function, [values[k] for k in rows])
    if some is None or some == aggregate(function, values):
        return None
    sql = f"SELECT {function}({child.name}.{measure.name}) FROM {join(child, ref, parent)} WHERE {where.sql}"
    return sql, {"what": summary(d, function, measure), "where": where.phrase, **d.things(child)}


@intent(
    "single join",
    2,
    (
        "For each {parent} {b} that has {things}, show the {b} and the number of {things}.",
        "How many {things} does each {parent} {b} have? Return the {b} and the count, leaving out those with none.",
        "Count the {things} per {parent} {b}, listing the {b} first; skip any without {things}.",
    ),
    (
        "{things}[이/가] 있는 {parent}에 대해 {b}별 {things} 수를 {b}[과/와] 함께 보여 줘.",
        "{parent}의 {b}마다 {things}[이/가] 몇 {unit}인지 {b}[과/와] 건수를 알려 주세요. 없는 경우는 빼 주세요.",
        "{things}[을/를] {parent}의 {b}별로 묶어 {b}[과/와] 개수를 구하세요.",
    ),
)
def count_per_parent(d: Draw) -> Built:
    child, ref, parent = d.relation()
    by = d.pick([c for c in parent.shown if c.kind in ("name", "category") and not c.nullable])
    if by is None:
        return None
    column = f"{parent.name}.{by.name}"
    sql = f"SELECT {column}, COUNT(*) FROM {join(child, ref, parent)} GROUP BY {column}"
    return sql, {"b": d.word(by), "parent": d.things(parent)["thing"], **d.things(child)}


@intent(
    "single join",
    2,
    (
        "What is the {what} of the {things} for each {parent} {b} that has any? Return the {b} and the {what}.",
        "For every {parent} {b} with {things}, show the {b} and the {what} of its {things}.",
        "Group the {things} by {parent} {b} and give the {b} with the {what}.",
    ),
    (
        "{things}[이/가] 있는 {parent}의 {b}별로 {what}[을/를] 구해 {b}[과/와] 함께 보여 줘.",
        "{things}[을/를] {parent}의 {b}별로 묶어 {b}[과/와] {what}[을/를] 구하세요.",
        "{parent}의 {b}마다 {things}의 {what}[이/가] 얼마인지 {b}[과/와] 함께 알려 주세요. 없는 경우는 빼 주세요.",
    ),
)
def measure_per_parent(d: Draw) -> Built:
    child, ref, parent = d.relation()
    by = d.pick([c for c in parent.shown if c.kind in ("name", "category") and not c.nullable])
    measure = d.pick(child.measures)
    if by is None or measure is None:
        return None
    function, column = d.pick(measure.aggregates), f"{parent.name}.{by.name}"
    sql = f"SELECT {column}, {function}({child.name}.{measure.name}) FROM {join(child, ref, parent)} GROUP BY {column}"
    words = {"b": d.word(by), "parent": d.things(parent)["thing"], "what": summary(d, function, measure)}
    return sql, {**words, **d.things(child)}


@intent(
    "single join",
    1.5,
    (
        "Which {parents} have no {things}? Return the {b}.",
        "List the {b} of every {parent} without any {things}.",
        "Show the {b} of {parents} that are not linked to any {thing}.",
    ),
    (
        "{things}[이/가] 하나도 없는 {parent}의 {b}[을/를] 알려 줘.",
        "{things}[과/와] 연결되지 않은 {parent}의 {b}[을/를] 보여 주세요.",
        "{things}[이/가] 없는 {parent}[을/를] 찾아 {b}[을/를] 조회하세요.",
    ),
)
def parents_without_children(d: Draw) -> Built:
    child, ref, parent = d.relation()
    linked = {k for k in d.parents(child, ref, parent) if k is not None}
    if len(linked) == d.size(parent):
        return None
    by = parent.identity
    on = f"{parent.name}.{parent.key.name} = {child.name}.{ref.name}"
    sql = (
        f"SELECT {parent.name}.{by.name} FROM {parent.name} LEFT JOIN {child.name} ON {on} "
        f"WHERE {child.name}.{ref.name} IS NULL"
    )
    words = {"b": d.word(by), "parent": d.things(parent)["thing"], "parents": d.things(parent)["things"]}
    return sql, {**words, **d.things(child)}


@intent(
    "single join",
    1.2,
    (
        "What is the {owner}{b} of the {thing} with the {most} {by}?",
        "Find the {thing} that has the {most} {by} and return its {owner}{b}.",
        "Which {thing} has the {most} {by}? Give the {owner}{b}.",
    ),
    (
        "{by} 값이 가장 {most} {thing}의 {owner}{b}[은/는] 무엇인가요?",
        "{things} 중 {by} 값이 가장 {most} {thing}[을/를] 찾아 {owner}{b}[을/를] 알려 줘.",
        "{by} 값이 가장 {most} {thing} 1{unit}에 대해 {owner}{b}[을/를] 보여 주세요.",
    ),
)
def parent_of_extreme(d: Draw) -> Built:
    child, ref, parent = d.relation()
    by, shown = d.pick(child.ordered), d.pick(parent.shown)
    if by is None or ref.nullable:
        return None
    direction = d.pick(("DESC", "ASC"))
    order = f"ORDER BY {child.name}.{by.name} {direction} LIMIT 1"
    sql = f"SELECT {parent.name}.{shown.name} FROM {join(child, ref, parent)} {order}"
    words = {"b": d.word(shown), "owner": d.owner(parent), **ordering(d, by, direction)}
    return sql, {**words, **d.things(child)}


# ----------------------------------------------------------------------------------------------- multiple joins
@intent(
    "multiple_joins",
    2,
    (
        "For {things} {where}, show the {one}{a} and the {two}{b}.",
        "List the {one}{a} and the {two}{b} of every {thing} {where}.",
        "Return the {one}{a} together with the {two}{b} for {things} {where}.",
    ),
    (
        "{where} {things}의 {one}{a}[과/와] {two}{b}[을/를] 보여 줘.",
        "{where} {things}에 대해 {one}{a}[과/와] {two}{b}[을/를] 조회하세요.",
        "{where} {things}마다 {one}{a}, {two}{b}[을/를] 차례로 알려 주세요.",
    ),
)
def two_parent_columns(d: Draw) -> Built:
    (child, ref, first), (middle, second_ref, second) = d.pick(d.schema.paths)
    where = d.condition(child, qualified=True)
    if where is None:
        return None
    one, two = d.parents(child, ref, first), far_rows(d, child, (middle, second_ref, second), (child, ref, first))
    if any(one[k] is None or two[k] is None for k in where.rows):  # an inner and an outer join would differ
        return None
    a, b = d.pick(first.shown), d.pick(second.shown)
    joined = f"{join(child, ref, first)} {joined_to(middle, second_ref, second)}"
    sql = f"SELECT {first.name}.{a.name}, {second.name}.{b.name} FROM {joined} WHERE {where.sql}"
    words = {"one": d.owner(first), "a": d.word(a), "two": d.owner(second), "b": d.word(b), "where": where.phrase}
    return sql, {**words, **d.things(child)}


@intent("multiple_joins", 2, FILTERED_EN, FILTERED_KO)
def filtered_by_both(d: Draw) -> Built:
    path = d.pick(d.schema.paths)
    (child, ref, first), (middle, second_ref, second) = path
    one, two = d.condition(first, owned=True), d.condition(second, owned=True)
    if one is None or two is None:
        return None
    first_rows, second_rows = d.parents(child, ref, first), far_rows(d, child, path[1], path[0])
    by_one = {k for k, row in enumerate(first_rows) if row in one.rows}
    by_two = {k for k, row in enumerate(second_rows) if row in two.rows}
    met = by_one & by_two
    if not d.empty and (not met or met in (by_one, by_two)):
        return None
    columns = d.columns(child)
    joined = f"{join(child, ref, first)} {joined_to(middle, second_ref, second)}"
    sql = f"SELECT {names(columns, child)} FROM {joined} WHERE {one.sql} AND {two.sql}"
    phrase = (
        f"{one.clause}{one.endings[1]} {two.clause}{two.endings[0]}"
        if d.korean
        else f"whose {one.clause} and whose {two.clause}"
    )
    return sql, {**d.listing(columns), "where": phrase, **d.things(child)}


@intent(
    "multiple_joins",
    1.5,
    (
        "Considering only {things} {where}, show each {parent} {b} and the number of {things}.",
        "For every {parent} {b}, return the {b} and how many {things} {where} it has, leaving out zero counts.",
        "Count the {things} {where} per {parent} {b}, listing the {b} first.",
    ),
    (
        "{where} {things}의 수를 {parent}의 {b}별로 구하고 {b}[과/와] 함께 보여 줘.",
        "{where} {things}[을/를] {parent}의 {b}별로 묶어 {b}[과/와] 개수를 구하세요.",
        "{where} {things}만 대상으로 {parent}의 {b}마다 몇 {unit}인지 {b}[과/와] 건수를 알려 주세요.",
    ),
)
def count_per_parent_filtered(d: Draw) -> Built:
    path = d.pick(d.schema.paths)
    (child, ref, first), (middle, second_ref, second) = path
    by = d.pick([c for c in first.shown if c.kind in ("name", "category")])
    where = d.condition(second, owned=True)
    if by is None or where is None:
        return None
    met = [k for k, row in enumerate(far_rows(d, child, path[1], path[0])) if row in where.rows]
    linked = d.parents(child, ref, first)
    if not d.empty and (len(met) == d.size(child) or all(linked[k] is None for k in met)):
        return None
    column = f"{first.name}.{by.name}"
    joined = f"{join(child, ref, first)} {joined_to(middle, second_ref, second)}"
    sql = f"SELECT {column}, COUNT(*) FROM {joined} WHERE {where.sql} GROUP BY {column}"
    words = {"b": d.word(by), "parent": d.things(first)["thing"], "where": where.phrase}
    return sql, {**words, **d.things(child)}


# --------------------------------------------------------------------------------------------------- subqueries
@intent(
    "subqueries",
    2.5,
    (
        "List the {cols} of {things} whose {m} is {side} the average {m}.",
        "Which {things} have {a} {m} {side} average? Return their {cols}.",
        "Show the {cols} of every {thing} with {a} {m} {side} the overall average.",
    ),
    (
        "{m}[이/가] 전체 평균보다 {size} {things}의 {cols}[을/를] 알려 줘.",
        "{m} 값이 평균 {m}보다 {size} {things}[을/를] 찾아 {cols}[을/를] 보여 주세요.",
        "평균보다 {m}[이/가] {size} {things}의 {cols}[을/를] 조회하세요.",
    ),
)
def against_average(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.measures])
    if table is None:
        return None
    measure, sign = d.pick(table.measures), d.pick((">", "<"))
    columns = d.columns(table, avoid=[measure])
    inner = f"(SELECT AVG({measure.name}) FROM {table.name})"
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {measure.name} {sign} {inner}"
    words = {"m": d.word(measure), "a": article(measure.label), "side": "above" if sign == ">" else "below"}
    return sql, {**words, "size": "큰" if sign == ">" else "작은", **d.listing(columns), **d.things(table)}


@intent(
    "subqueries",
    2,
    (
        "List the {cols} of {parents} that have at least one {thing} {where}.",
        "Which {parents} have some {thing} {where}? Return the {cols}.",
        "Show the {cols} of every {parent} linked to {things} {where}, each {parent} once.",
    ),
    (
        "{where} {things}[이/가] 하나라도 있는 {parent}의 {cols}[을/를] 알려 줘.",
        "{where} {things}[과/와] 연결된 {parent}의 {cols}[을/를] {parent}마다 한 번씩 보여 주세요.",
        "{where} {things}[이/가] 있는 {parent}[을/를] 찾아 {cols}[을/를] 조회하세요.",
    ),
)
def parents_with_some_child(d: Draw) -> Built:
    child, ref, parent = d.relation()
    where = d.condition(child) if child else None
    if where is None:
        return None
    linked = d.parents(child, ref, parent)
    met = {linked[k] for k in where.rows} - {None}
    if not d.empty and (not met or met == set(linked) - {None}):
        return None
    columns = d.columns(parent)
    inner = f"(SELECT {ref.name} FROM {child.name} WHERE {where.sql})"
    sql = f"SELECT {names(columns)} FROM {parent.name} WHERE {parent.key.name} IN {inner}"
    words = {**d.listing(columns), "where": where.phrase, **d.things(child)}
    return sql, {**words, "parent": d.things(parent)["thing"], "parents": d.things(parent)["things"]}


@intent(
    "subqueries",
    1.5,
    (
        "Which {parents} do not appear among the {things} {where}? Return the {cols}.",
        "List the {cols} of {parents} that have no {thing} {where}.",
        "Excluding every {parent} that has {things} {where}, show the {cols} of the remaining {parents}.",
    ),
    (
        "{where} {things}[이/가] 하나도 없는 {parent}의 {cols}[을/를] 알려 줘.",
        "{where} {things}에 나오지 않는 {parent}의 {cols}[을/를] 보여 주세요.",
        "{where} {things}[이/가] 있는 {parent}[을/를] 제외하고 나머지의 {cols}[을/를] 조회하세요.",
    ),
)
def parents_without_such_child(d: Draw) -> Built:
    child, ref, parent = d.relation()
    where = d.condition(child) if child and not ref.nullable else None
    if where is None or d.empty:
        return None
    linked = d.parents(child, ref, parent)
    met = {linked[k] for k in where.rows}
    if len(met) == d.size(parent) or met == set(linked):
        return None
    columns = d.columns(parent)
    inner = f"(SELECT {ref.name} FROM {child.name} WHERE {where.sql})"
    sql = f"SELECT {names(columns)} FROM {parent.name} WHERE {parent.key.name} NOT IN {inner}"
    words = {**d.listing(columns), "where": where.phrase, **d.things(child)}
    return sql, {**words, "parent": d.things(parent)["thing"], "parents": d.things(parent)["things"]}


@intent(
    "subqueries",
    1.5,
    (
        "Among {things} {where}, which reach the {most} {m} of that group? Return the {cols}.",
        "Find the {things} {where} whose {m} equals the {most} {m} among them, and show the {cols}.",
        "Of all {things} {where}, give the {cols} of those with the {most} {m}.",
    ),
    (
        "{where} {things} 중에서 {m} 값이 그중 {extreme}[과/와] 같은 {things}의 {cols}[을/를] 알려 줘.",
        "{where} {things} 가운데 {m} 값이 가장 {most} {things}[을/를] 찾아 {cols}[을/를] 보여 주세요.",
        "{where} {things} 중 {m} 값이 그 {extreme}인 {things}의 {cols}[을/를] 조회하세요.",
    ),
)
def extreme_among(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.categories and any(c in t.ordered for c in t.measures)])
    if table is None:
        return None
    column, measure = d.pick(table.categories), d.pick([c for c in table.measures if not c.nullable])
    values, amounts = d.values(table, column), d.values(table, measure)
    value, function = d.pick(values), d.pick(("MAX", "MIN"))
    columns = d.columns(table, avoid=[column, measure])
    inside = [amount for amount, one in zip(amounts, values, strict=True) if one == value]
    if len(inside) < 2 or aggregate(function, inside) == aggregate(function, amounts):
        return None
    test = f"{column.name} = {literal(value)}"
    inner = f"(SELECT {function}({measure.name}) FROM {table.name} WHERE {test})"
    sql = f"SELECT {names(columns)} FROM {table.name} WHERE {test} AND {measure.name} = {inner}"
    said = d.value(value)
    where = d.either(f"whose {column.label} is {said}", f"{column.korean}[이/가] {said}인")
    words = {"where": where, "m": d.word(measure), **d.listing(columns), "extreme": AGGREGATES[function][1]}
    words["most"] = d.either(AGGREGATES[function][0], "큰" if function == "MAX" else "작은")
    return sql, {**words, **d.things(table)}


@intent(
    "subqueries",
    1.5,
    (
        "Which {things} have the same {col} as {value}? Return the {key} of each, {value} included.",
        "List the {key} of all {things} whose {col} is the same as that of {value}, including {value}.",
        "Show the {key} of every {thing} that shares its {col} with {value}; keep {value} in the list.",
    ),
    (
        "{value}[과/와] {col}[이/가] 같은 {things}의 {key}[을/를] 알려 줘. {value}도 포함해 줘.",
        "{value}도 포함하여 {value}[과/와] 같은 {col}[을/를] 가진 {things}의 {key}[을/를] 보여 주세요.",
        "{col}[이/가] {value}[과/와] 동일한 {things}의 {key}[을/를] {value}[을/를] 포함해 모두 조회하세요.",
    ),
)
def same_group_as(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.categories and t.identity and t.identity.kind in ("name", "code")])
    if table is None:
        return None
    key, column = table.identity, d.pick(table.categories)
    k = d.pick(range(d.size(table)))
    values = d.values(table, column)
    if values.count(values[k]) < 2:
        return None
    value = d.values(table, key)[k]
    inner = f"(SELECT {column.name} FROM {table.name} WHERE {key.name} = {literal(value)})"
    sql = f"SELECT {key.name} FROM {table.name} WHERE {column.name} = {inner}"
    return sql, {"key": d.word(key), "col": d.word(column), "value": d.value(value), **d.things(table)}


# ---------------------------------------------------------------------------------------------- window functions
@intent(
    "window functions",
    2,
    (
        "Rank the {things} by {by} from {most} to {least}; show the {a}, the {by} and the rank.",
        "Show each {thing}'s {a}, {by} and rank, where rank 1 has the {most} {by}.",
        "For every {thing}, return the {a}, the {by} and its rank by {by}, {most} first.",
    ),
    (
        "{things}[을/를] {by} {order}으로 순위를 매겨 {a}, {by}, 순위를 보여 줘.",
        "{by} 값이 가장 {most} {thing}[이/가] 1위가 되도록 {a}, {by}, 순위를 구하세요.",
        "모든 {things}의 {a}, {by}[과/와] {by} {order} 순위를 알려 주세요.",
    ),
)
def rank(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.ordered and t.identity])
    if table is None:
        return None
    by, a, direction = d.pick(table.ordered), table.identity, d.pick(("DESC", "DESC", "ASC"))
    sql = f"SELECT {a.name}, {by.name}, RANK() OVER (ORDER BY {by.name} {direction}) FROM {table.name}"
    return sql, {"a": d.word(a), **ordering(d, by, direction), **d.things(table)}


@intent(
    "window functions",
    1.5,
    (
        "Rank the {things} within each {col} by {by} from {most} to {least}; show the {a}, the {col} and the rank.",
        "For every {thing}, return the {a}, the {col} and its rank by {by} inside that {col}, {most} first.",
        "Show each {thing}'s {a}, {col} and rank among {things} of the same {col}, where rank 1 has the {most} {by}.",
    ),
    (
        "{col}별로 {things}[을/를] {by} {order}으로 순위를 매겨 {a}, {col}, 순위를 보여 줘.",
        "같은 {col} 안에서 {by} 값이 가장 {most} {thing}[이/가] 1위가 되도록 {a}, {col}, 순위를 구하세요.",
        "모든 {things}의 {a}, {col}[과/와] {col} 내 {by} {order} 순위를 알려 주세요.",
    ),
)
def rank_within_group(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.ordered and t.identity and t.categories])
    if table is None:
        return None
    by, a, direction = d.pick(table.ordered), table.identity, d.pick(("DESC", "DESC", "ASC"))
    column = d.pick(table.categories)
    window = f"RANK() OVER (PARTITION BY {column.name} ORDER BY {by.name} {direction})"
    sql = f"SELECT {a.name}, {column.name}, {window} FROM {table.name}"
    return sql, {"a": d.word(a), "col": d.word(column), **ordering(d, by, direction), **d.things(table)}


@intent(
    "window functions",
    1.5,
    (
        "Show each {thing}'s {by} and the running total of {m} in order of {by}.",
        "In order of {by}, compute the cumulative {m} of the {things}; return the {by} and the running total.",
        "For every {thing}, return the {by} and the sum of {m} up to that {by}.",
    ),
    (
        "{things}의 {by}[과/와] {by} 순서로 더한 {m} 누적 합계를 보여 줘.",
        "{by} 순으로 {things}의 {m} 누적합을 구하고 {by}[과/와] 함께 알려 주세요.",
        "각 {thing}의 {by}[과/와] 그 {by}까지의 {m} 누적 합계를 조회하세요.",
    ),
)
def running_total(d: Draw) -> Built:
    fitting = [t for t in d.schema.tables if summed(t) and any(c.kind == "date" for c in t.ordered)]
    table = d.pick(fitting)
    if table is None:
        return None
    by, measure = d.pick([c for c in table.ordered if c.kind == "date"]), d.pick(summed(table))
    sql = f"SELECT {by.name}, SUM({measure.name}) OVER (ORDER BY {by.name}) FROM {table.name}"
    return sql, {"by": d.word(by), "m": d.word(measure), **d.things(table)}


@intent(
    "window functions",
    1.5,
    (
        "For every {thing}, show the {a}, the {m} and the average {m} of its {col}.",
        "Next to each {thing}'s {a} and {m}, give the average {m} of all {things} with the same {col}.",
        "Return the {a}, the {m} and the {col}'s average {m} for each {thing}.",
    ),
    (
        "모든 {things}의 {a}, {m}, 그리고 같은 {col}의 평균 {m}[을/를] 보여 줘.",
        "{things}마다 {a}[과/와] {m} 옆에 {col}별 평균 {m}[을/를] 함께 알려 주세요.",
        "각 {thing}의 {a}, {m}[과/와] 해당 {col}의 {m} 평균을 조회하세요.",
    ),
)
def beside_group_average(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.measures and t.identity and t.categories])
    if table is None:
        return None
    a, measure, column = table.identity, d.pick(table.measures), d.pick(table.categories)
    window = f"AVG({measure.name}) OVER (PARTITION BY {column.name})"
    sql = f"SELECT {a.name}, {measure.name}, {window} FROM {table.name}"
    return sql, {"a": d.word(a), "m": d.word(measure), "col": d.word(column), **d.things(table)}


# ------------------------------------------------------------------------------------------------ set operations
@intent(
    "set operations",
    4,
    (
        "Combine without duplicates the {col} values of {things} {one} and the {col} values of {things} {two}.",
        "Give one duplicate-free list with each {col} of {things} {one} and each {col} of {things} {two}.",
        "What is the union of the {col} values of {things} {one} and those of {things} {two}?",
    ),
    (
        "{one} {things}의 {col}[과/와] {two} {things}의 {col}[을/를] 중복 없이 합쳐서 보여 줘.",
        "{one} {things}의 {col} 목록에 {two} {things}의 {col} 목록을 합집합으로 더해 알려 주세요.",
        "{one} {things}[과/와] {two} {things}의 {col} 합집합을 구하세요.",
    ),
)
def union(d: Draw) -> Built:
    return set_operation(d, "UNION", set.union)


@intent(
    "set operations",
    4,
    (
        "List the {col} values of {things} {one}, except those found among {things} {two}.",
        "Which {col} values occur for {things} {one} but not for {things} {two}?",
        "Take the {col} values of {things} {one} and remove the {col} values of {things} {two}.",
    ),
    (
        "{one} {things}의 {col} 중에서 {two} {things}의 {col}[을/를] 제외하고 보여 줘.",
        "{one} {things}에는 있지만 {two} {things}에는 없는 {col}[을/를] 알려 주세요.",
        "{one} {things}의 {col}에서 {two} {things}의 {col}[을/를] 뺀 차집합을 구하세요.",
    ),
)
def except_(d: Draw) -> Built:
    return set_operation(d, "EXCEPT", set.difference)


@intent(
    "set operations",
    3,
    (
        "Which {col} values occur both for {things} {one} and for {things} {two}?",
        "List the {col} values shared by {things} {one} and {things} {two}.",
        "What is the intersection of the {col} values of {things} {one} and those of {things} {two}?",
    ),
    (
        "{one} {things}[과/와] {two} {things}에 모두 나오는 {col}[을/를] 보여 줘.",
        "{one} {things}의 {col}[과/와] {two} {things}의 {col} 중 공통된 값을 알려 주세요.",
        "{one} {things}의 {col}[과/와] {two} {things}의 {col} 교집합을 구하세요.",
    ),
)
def intersect(d: Draw) -> Built:
    return set_operation(d, "INTERSECT", set.intersection)


@intent(
    "set operations",
    1,
    (
        "Make one list without duplicates of the {a} of all {firsts} and the {b} of all {seconds}.",
        "Combine every {first}'s {a} and every {second}'s {b} in a single duplicate-free column.",
        "What is the union of all {first} {a} values and all {second} {b} values?",
    ),
    (
        "모든 {first}의 {a}[과/와] 모든 {second}의 {b}[을/를] 중복 없이 하나의 목록으로 보여 줘.",
        "{first} {a}[과/와] {second} {b}의 합집합을 구하세요.",
        "{first}의 {a} 목록과 {second}의 {b} 목록을 중복 없이 합쳐 주세요.",
    ),
)
def union_of_tables(d: Draw) -> Built:
    offered = [(t, c) for t in d.schema.tables for c in t.shown if c.kind in ("name", "category") and not c.nullable]
    if len({t.name for t, _ in offered}) < 2:
        return None
    first, a = d.pick(offered)
    second, b = d.pick([(t, c) for t, c in offered if t is not first])
    sql = f"SELECT {a.name} FROM {first.name} UNION SELECT {b.name} FROM {second.name}"
    one, two = d.things(first), d.things(second)
    words = {"first": one["thing"], "firsts": one["things"], "second": two["thing"], "seconds": two["things"]}
    return sql, {"a": d.word(a), "b": d.word(b), **words}


# --------------------------------------------------------------------------------------------------------- CTEs
@intent(
    "CTEs",
    1.5,
    (
        "First compute the {what} of {things} per {col}, then list each {col} and {what} where it is above {bound}.",
        "From a table of the {what} of {things} by {col}, return the {col} and the {what} of rows above {bound}.",
        "Using the {what} of {things} for every {col}, show the {col} and the {what} wherever it exceeds {bound}.",
    ),
    (
        "먼저 {things}의 {col}별 {what}[을/를] 구한 뒤, 그 값이 {bound}보다 큰 {col}[과/와] {what}[을/를] 보여 줘.",
        "{things}의 {col}별 {what} 표를 만들고 {bound}[을/를] 넘는 {col}[과/와] {what}만 조회하세요.",
        "{col}별로 {things}의 {what}[을/를] 계산한 다음 {bound} 초과인 {col}[과/와] 그 {what}[을/를] 알려 주세요.",
    ),
)
def groups_above(d: Draw) -> Built:
    picked = grouped_measure(d, ("SUM", "AVG"))
    if picked is None:
        return None
    table, column, measure, function = picked
    bound = splitting_bound(d, table, column, measure, function)
    if bound is None:
        return None
    cte = summaries(table, column, measure, function)
    sql = f"{cte} SELECT {column.name}, summary FROM per_group WHERE summary > {bound}"
    words = {"col": d.word(column), "what": summary(d, function, measure), "bound": str(bound)}
    return sql, {**words, **d.things(table)}


@intent(
    "CTEs",
    1,
    (
        "First compute the {what} of {things} per {col}, then return the {most} of these values.",
        "From the {what} of {things} by {col}, what is the {most} value?",
        "Take the {what} of {things} for every {col} and give only the {most} one.",
    ),
    (
        "먼저 {things}의 {col}별 {what}[을/를] 구한 뒤, 그중 가장 {size} 값을 보여 줘.",
        "{things}의 {col}별 {what} 가운데 가장 {size} 값은 얼마인가요?",
        "{col}별로 {things}의 {what}[을/를] 계산한 다음 가장 {size} 값만 알려 주세요.",
    ),
)
def extreme_of_groups(d: Draw) -> Built:
    picked = grouped_measure(d, ("SUM", "AVG"))
    if picked is None:
        return None
    table, column, measure, function = picked
    outer = d.pick(("MAX", "MIN"))
    sql = f"{summaries(table, column, measure, function)} SELECT {outer}(summary) FROM per_group"
    words = {"col": d.word(column), "what": summary(d, function, measure), "most": AGGREGATES[outer][0]}
    return sql, {**words, "size": "큰" if outer == "MAX" else "작은", **d.things(table)}


@intent(
    "CTEs",
    1.5,
    (
        "Which {things} have {an} {m} above the average {m} of their own {col}? Return the {a}.",
        "List the {a} of every {thing} whose {m} is greater than the average of its {col}.",
        "First compute the average {m} per {col}, then show the {a} of {things} above their {col}'s average.",
    ),
    (
        "{m}[이/가] 같은 {col}의 평균보다 큰 {things}의 {a}[을/를] 보여 줘.",
        "먼저 {col}별 평균 {m}[을/를] 구한 뒤, 자신의 {col} 평균보다 {m}[이/가] 큰 {things}의 {a}[을/를] 알려 주세요.",
        "{col}별 {m} 평균을 넘는 {things}의 {a}[을/를] 조회하세요.",
    ),
)
def above_group_average(d: Draw) -> Built:
    table = d.pick([t for t in d.schema.tables if t.measures and t.identity and t.categories])
    if table is None:
        return None
    a, measure, column, t = table.identity, d.pick(table.measures), d.pick(table.categories), table.name
    keys, values = d.values(table, column), d.values(table, measure)
    means = {one: aggregate("AVG", inside) for one, inside in groups(keys, values).items()}
    if not any(v is not None and v > means[k] for k, v in zip(keys, values, strict=True)):
        return None
    sql = (
        f"{summaries(table, column, measure, 'AVG')} SELECT {t}.{a.name} FROM {t} "
        f"JOIN per_group ON {t}.{column.name} = per_group.{column.name} WHERE {t}.{measure.name} > per_group.summary"
    )
    words = {"a": d.word(a), "m": d.word(measure), "an": article(measure.label), "col": d.word(column)}
    return sql, {**words, **d.things(table)}


# ------------------------------------------------------------------------------------------- parts of the queries
def names(columns: Sequence[Column], table: Table | None = None) -> str:
    """Columns for a SELECT, qualified in joins."""
    return ", ".join(f"{table.name}.{c.name}" if table else c.name for c in columns)


def join(child: Table, ref: Column, parent: Table) -> str:
    return f"{child.name} {joined_to(child, ref, parent)}"


def joined_to(child: Table, ref: Column, parent: Table) -> str:
    return f"JOIN {parent.name} ON {child.name}.{ref.name} = {parent.name}.{parent.target.name}"


def summaries(table: Table, column: Column, measure: Column, function: str) -> str:
    """A CTE `per_group` with one `summary` for each value of the column."""
    inner = f"SELECT {column.name}, {function}({measure.name}) AS summary FROM {table.name} GROUP BY {column.name}"
    return f"WITH per_group AS ({inner})"


def summary(d: Draw, function: str, measure: Column) -> str:
    """ "average price", "가격 평균"."""
    english, korean, _ = AGGREGATES[function]
    return d.either(f"{english} {measure.label}", f"{measure.korean} {korean}")


def ordering(d: Draw, by: Column, direction: str) -> dict[str, str]:
    """The words of an ORDER BY."""
    temporal = by.kind in ("date", "year")
    pair = (("latest", "늦은"), ("earliest", "이른")) if temporal else (("highest", "큰"), ("lowest", "작은"))
    most, least = pair if direction == "DESC" else pair[::-1]
    order = ("descending", "내림차순") if direction == "DESC" else ("ascending", "오름차순")
    language = int(d.korean)
    return {"by": d.word(by), "most": most[language], "least": least[language], "order": order[language]}


def summed(table: Table) -> list[Column]:
    return [c for c in table.measures if "SUM" in c.aggregates and not c.nullable]


def grouped_measure(d: Draw, functions: Sequence[str] = ("SUM", "AVG", "MIN", "MAX")):
    """(table, grouping column, measure, aggregate) with at least two groups and one of them larger than one row."""
    table = d.pick([t for t in d.schema.tables if t.categories and t.measures])
    if table is None:
        return None
    column, measure = d.pick(table.categories), d.pick(table.measures)
    if not 1 < len(set(d.values(table, column))) < d.size(table):
        return None
    return table, column, measure, d.pick([f for f in functions if f in measure.aggregates])


def splitting_bound(d: Draw, table: Table, column: Column, measure: Column, function: str) -> float | None:
    """A round number that some groups' aggregates exceed and some do not."""
    grouped = groups(d.values(table, column), d.values(table, measure))
    drawn = {aggregate(function, inside) for inside in grouped.values()}
    found = sorted(value for value in drawn if value is not None)
    if len(found) < 2:
        return None
    k = int(d.rng.random() * (len(found) - 1))
    return between(found[k], found[k + 1])


def telling_rows(d: Draw, child: Table, ref: Column, parent: Table, where: Condition) -> list[int]:
    """The child rows whose parent meets the condition; none of them where that is all."""
    met = [k for k, row in enumerate(d.parents(child, ref, parent)) if row in where.rows]
    return met if len(met) < d.size(child) else []


def far_rows(d: Draw, child: Table, far: tuple, near: tuple) -> list[int | None]:
    """For each child row the position of its row in the far table, over `near` when that stands between."""
    middle, ref, parent = far
    if middle is child:
        return d.parents(child, ref, parent)
    onward = d.parents(middle, ref, parent)
    return [None if row is None else onward[row] for row in d.parents(*near)]


def set_operation(d: Draw, operator: str, combine: Callable[[set, set], set]) -> Built:
    """Two filtered selections of one column that overlap, combined; the answer differs from either side's."""
    table = d.pick(d.schema.tables)
    column = d.pick([c for c in table.shown if c.kind in ("name", "category", "code") and not c.nullable])
    if column is None:
        return None
    one = d.condition(table, avoid=[column])
    two = d.condition(table, avoid=[column, one.column]) if one else None
    if two is None:
        return None
    values = d.values(table, column)
    left, right = {values[k] for k in one.rows}, {values[k] for k in two.rows}
    if not combine(left, right) or combine(left, right) in (left, right):
        return None
    half = f"SELECT {column.name} FROM {table.name} WHERE"
    words = {"col": d.word(column), "one": one.phrase, "two": two.phrase, **d.things(table)}
    return f"{half} {one.sql} {operator} {half} {two.sql}", words
