"""Suspicions about golds: what a careful author would look at again. None of them is a verdict.

A gold is run on the databases of its question, filled ones where it brings no rows, and read beside its question.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from sqlglot import exp

from text2sql.databases.aims import parsed
from text2sql.engines.pool import Lost, guarded_map
from text2sql.engines.question import Question, databases, setup_script, statement
from text2sql.engines.sqlite import Answer, Connection, Failure, Limits, build, query, writing
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import Gold, answer_gold, plan

KINDS = ("constant", "ignores", "tie", "row order", "nothing", "differs", "fails")
LIMITS = Limits(seconds=2.0, rows=20_000)
SECONDS = 60.0  # for all golds of one question
FEW = 3  # databases on which an answer is the same, at least, to be called constant


class Asked(NamedTuple):
    """A gold with its question. `own_rows`: its databases hold rows that the data bring, not generated ones."""

    id: Any
    text: str  # the question; empty where there is none
    question: Question
    own_rows: bool
    reason: str | None = None  # why no database could be filled for it


def golds_of(one: Asked) -> Iterator[Asked]:
    """Each gold of a question by itself. Databases are filled for the first one, of which alone `reason` speaks."""
    first, *others = one.question.by_gold()
    yield one._replace(question=first)
    yield from (one._replace(question=other, reason=None) for other in others)


class Suspicion(NamedTuple):
    """`kind` is one of KINDS."""

    kind: str
    reason: str


def audit(asked: Sequence[Asked], workers: int) -> Iterator[tuple[Asked, list[Suspicion]]]:
    """Every gold in order with what is suspicious about it; golds of one question are also held against each other.

    Golds are of one question where their texts, schemas or files, and dialects are equal.
    """
    groups: dict[tuple, list[Asked]] = {}
    for one in asked:
        groups.setdefault(_same(one), []).append(one)
    found: dict[tuple, Iterator[list[Suspicion]]] = {}
    results = guarded_map(_suspicions, groups.values(), workers=workers, seconds=SECONDS)
    for key, result in zip(groups, results, strict=True):
        if isinstance(result, Lost):
            result = [[Suspicion("fails", f"{result.reason}: {result.error}")] for _ in groups[key]]
        found[key] = iter(result)
    yield from ((one, next(found[_same(one)])) for one in asked)


def _same(one: Asked) -> tuple:
    question = one.question
    schema = question.database or "\n".join(_definitions(question.setups))
    return (" ".join(one.text.lower().split()) or ("", one.id), schema, question.dialect)


def _definitions(scripts: Iterable[str]) -> list[str]:
    """What CREATE statements the scripts have: all fillings of a schema have the same."""
    return sorted({found for script in scripts for found in re.findall(r"CREATE\s[^;]*", script, re.IGNORECASE)})


def _suspicions(group: list[Asked]) -> list[list[Suspicion]]:
    return [list(dict.fromkeys([*_alone(one), *_beside(one, group)])) for one in group]


def _alone(one: Asked) -> Iterator[Suspicion]:
    sql = statement(one.question.gold_sql, one.question)
    if one.reason is not None:
        kind = "nothing" if one.reason.startswith("no_rows") else "fails"
        yield Suspicion(kind, "no filling makes it answer with rows" if kind == "nothing" else one.reason)
    if isinstance(sql, Failure):
        yield Suspicion("fails", f"{sql.outcome}: {sql.error}")
        return
    tree = parsed(sql)
    if tree is not None:
        if tree.find(exp.Table) is None:
            yield Suspicion("constant", "it reads no table")
        yield from _ignored(one.text, tree)
    golds: list[Gold] = []
    for database in databases(one.question, LIMITS):
        gold = database if isinstance(database, Failure) else answer_gold(database, plan(sql), LIMITS)
        if isinstance(gold, Failure):
            yield Suspicion("fails", f"{gold.outcome}: {gold.error}")
            return
        golds.append(gold)
        if gold.ambiguous and not plan(sql).order:
            yield Suspicion("row order", "its LIMIT has no ORDER BY: which rows it shows is chance")
        elif gold.ambiguous and one.own_rows:
            yield Suspicion("tie", "its LIMIT cuts through rows that tie at its sort keys")
        if tree is not None:
            yield from _loose(tree, database)
    if golds and one.reason is None and not any(gold.answer.rows for gold in golds):
        yield Suspicion("nothing", "it returns no row")
    same = all(compare(golds[0], gold.answer).ex_strict for gold in golds)
    if same and len(golds) >= FEW and golds[0].answer.has_value:
        yield Suspicion("constant", f"its answer is the same on {len(golds)} different databases")
    yield from _unordered(one.question, sql)


def _loose(tree: exp.Expr, database: Any) -> Iterator[Suspicion]:
    """Columns that are shown of groups in which they differ: SQLite shows that of some row."""
    for select in tree.find_all(exp.Select):
        group = select.args.get("group")
        if group is None or select.find_ancestor(exp.Select):
            continue
        keys = {key.sql("sqlite").lower() for key in group.expressions}
        extreme = any(e.find(exp.Max, exp.Min) for e in select.expressions)  # the column is that of this row
        for shown in (e.unalias() for e in select.expressions):
            if extreme or not isinstance(shown, exp.Column) or shown.sql("sqlite").lower() in keys:
                continue
            if isinstance(shown.this, exp.Star):
                continue
            differing = select.copy()
            for part in ("order", "limit", "offset"):
                differing.set(part, None)
            differing.set("expressions", [exp.Literal.number(1)])
            several = exp.GT(
                this=exp.Count(this=exp.Distinct(expressions=[shown.copy()])), expression=exp.Literal.number(1)
            )
            answer = database.query(differing.having(several, copy=False).sql("sqlite"), LIMITS)
            if isinstance(answer, Answer) and answer.rows:
                name = shown.sql("sqlite")
                yield Suspicion("row order", f"{name} is shown of groups that hold several: which one is chance")


def _unordered(question: Question, sql: str) -> Iterator[Suspicion]:
    """Whether the answer is another where SQLite reads its tables backwards."""
    for setup in question.setups:
        script = setup_script(setup, question.setup_dialect)
        connection = script if isinstance(script, Failure) else build(script)
        if isinstance(connection, Failure):
            continue
        with closing(connection):
            if _turns(connection, sql):
                yield Suspicion("row order", "it answers otherwise where its tables are read backwards")
                return


def _turns(connection: Connection, sql: str) -> bool:
    gold = answer_gold(connection, plan(sql), LIMITS)
    with writing(connection):
        connection.execute("PRAGMA reverse_unordered_selects = 1")
    turned = query(connection, sql, LIMITS)
    return isinstance(gold, Gold) and isinstance(turned, Answer) and not compare(gold, turned).ex


def _beside(one: Asked, group: list[Asked]) -> Iterator[Suspicion]:
    """Other golds of the question that answer otherwise on its databases or on theirs."""
    for other in group:
        if other is one or other.question.gold_sql == one.question.gold_sql:
            continue
        texts = [statement(each.question.gold_sql, each.question) for each in (one, other)]
        if any(isinstance(text, Failure) for text in texts):
            continue
        first, second = map(str, texts)
        for database in (*databases(one.question, LIMITS), *databases(other.question, LIMITS)):
            if isinstance(database, Failure):
                continue
            gold, answer = answer_gold(database, plan(first), LIMITS), database.query(second, LIMITS)
            if isinstance(gold, Failure) or isinstance(answer, Failure):
                continue
            if not compare(gold, answer).ex:
                which = "another gold of the row" if other.id == one.id else f"the gold of row {other.id}"
                yield Suspicion("differs", f"{which} asks the same and answers otherwise")
                break


# --- The question's own words ----------------------------------------------------------------------------------------

_QUOTED = re.compile(r"(?<!\w)'([^']{1,60})'(?![A-Za-z])|\"([^\"]{1,60})\"|“([^”]{1,60})”|‘([^’]{1,60})’")
_NUMBER = re.compile(r"(?<![\w.,-])\d+(?:[.,]\d+)*(?![\w.,]*\d)")
_WORDS = dict(zip("two three four five six seven eight nine ten".split(), range(2, 11), strict=True))
_CAPITALISED = re.compile(r"(?<![.?!:] )(?<!^)\b[A-Z][\w'.-]*\w(?: (?:of |the |de |in )?[A-Z][\w'.-]*\w)*")
_COMMON = frozenset("i id ids what which who how find show list give return count the a an".split())


def _ignored(text: str, tree: exp.Expr) -> Iterator[Suspicion]:
    """Values that the question names and the gold lacks."""
    if not text:
        return
    literals = [node.name.lower() for node in tree.find_all(exp.Literal)]
    names = {
        name.lower() for node in tree.find_all(exp.Identifier) for name in [node.name, *re.split(r"[_\W]", node.name)]
    }
    literals += [node.name.lower() for node in tree.find_all(exp.Identifier) if node.args.get("quoted")]
    written = " ".join(literals)
    quoted = [next(filter(None, match.groups())) for match in _QUOTED.finditer(text)]
    rest = _QUOTED.sub(" ", text)
    for value in dict.fromkeys(quoted):
        if not _held(value, literals) and value.lower() not in names:
            yield Suspicion("ignores", f"the question names '{value}', which is not in the SQL")
    numbers = [float(node.name) for node in tree.find_all(exp.Literal) if node.is_number or _is_number(node.name)]
    for found, number in _numbers(rest):
        near = any(abs(other - number) <= 1 for other in numbers)  # more than two: at least three
        if not near and found not in written:
            yield Suspicion("ignores", f"the question names {found}, which is not in the SQL")
    for match in _CAPITALISED.finditer("" if rest.isupper() else rest):
        words = [word for word in re.split(r"[\s]", match[0]) if word.lower() not in _COMMON]
        value = " ".join(words)
        known = [word for word in words if any(_alike(word.lower(), name) for name in names)]
        if words and not known and not _held(value, literals):
            yield Suspicion("ignores", f"the question names {match[0]}, which is not in the SQL")


def _numbers(text: str) -> Iterator[tuple[str, float]]:
    for match in _NUMBER.finditer(text):
        yield match[0], float(match[0].replace(",", ""))
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in _WORDS:
            yield word, _WORDS[word]


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"-?\d+(\.\d+)?", text))


def _held(value: str, literals: Sequence[str]) -> bool:
    """Whether some literal of the SQL holds the value, or is a part of it."""
    value = value.lower().strip(" .,?!%")
    plain = [literal.strip(" %") for literal in literals]
    return any(value in literal or (len(literal) > 1 and literal in value) for literal in plain if literal)


def _alike(word: str, name: str) -> bool:
    """Whether a word and a part of a name are the same but for an ending."""
    word, name = word.rstrip("s"), name.rstrip("s")
    return bool(name) and (word == name or (len(name) > 3 and (word.startswith(name) or name.startswith(word))))
