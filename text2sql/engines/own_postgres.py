"""PostgreSQL: a query runs only where all that its names resolve to is known to do nothing but compute.

How a function can be called has no end: `f(x)`, `(x).f`, an operator, a cast, an aggregate's state function, a domain's
check. So the server itself says what a query means: with `debug_print_parse` it sends the analysed query, in which each
function, operator, aggregate and type stands by its number, however it was spelled. The catalogue tells what each is.
"""

import re
import time
from typing import Any, NamedTuple

from text2sql.engines import postgres
from text2sql.engines.cells import Written, document
from text2sql.engines.protocol import not_text
from text2sql.engines.sqlite import Answer, Failure, Limits

# What PostgreSQL calls volatile because it differs from call to call, and does nothing else.
HARMLESS = (
    "random random_normal clock_timestamp timeofday gen_random_uuid uuidv4 uuidv7 pg_relation_size pg_table_size "
    "pg_indexes_size pg_total_relation_size pg_database_size array_sample array_shuffle"
).split()
# Roles of the server by which a login can reach files and programs, or do what a superuser does.
POWERS = "pg_read_server_files pg_write_server_files pg_execute_server_program rds_superuser cloudsqlsuperuser".split()


def only_reading(connection: Any) -> None:
    """Makes every transaction of a new connection read-only."""
    connection.execute("SET standard_conforming_strings = on")
    connection.commit()
    connection.read_only = True


def powers(connection: Any) -> str | None:
    """What a login may do that no reader should, or None."""
    if connection.info.parameter_status("is_superuser") == "on":
        return "a superuser"
    found = connection.execute(
        "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY(%s) AND pg_has_role(rolname, 'MEMBER')", [POWERS]
    ).fetchall()
    connection.rollback()
    return f"a member of {found[0][0]}" if found else None


def answer(connection: Any, sql: str, limits: Limits, scoring: bool = False) -> Answer | Failure:
    """The answer to an untrusted query on a connection that `only_reading` prepared, which is then to be closed.

    scoring: cells are values, and what differs from call to call is refused; else they are as the server writes them.

    Raises psycopg.Error, OSError where the server is gone.
    """
    if len(sql) > limits.query_length:
        return Failure("too_large", f"more than {limits.query_length} characters of SQL")
    if (failure := not_text(sql)) is not None:
        return failure
    if scoring and isinstance(read := postgres.examine(sql), Failure):
        return read
    if scoring:
        postgres.register_cells(connection)
    else:
        _write_as_the_server(connection)
    pg = connection.pgconn
    try:
        connection.execute(f"SET LOCAL statement_timeout = {postgres.milliseconds(limits.seconds)}; SAVEPOINT asked")
        failure = examine(connection, sql, limits, scoring)
        if failure is not None:
            return failure
        pg.enter_pipeline_mode()
        return postgres.ask(connection, sql.encode(), limits)
    except postgres.Late:
        pg.get_cancel().cancel()
        return Failure("timeout", f"not ended {postgres.GRACE_SECONDS} s after its deadline")


# --- What a query means ----------------------------------------------------------------------------------------------


def examine(connection: Any, sql: str, limits: Limits, scoring: bool = False) -> Failure | None:
    """Why a query is not run, or None; the transaction is then back at its savepoint `asked`. Nothing is executed.

    Raises postgres.Late, psycopg.Error.
    """
    found = parsed(connection, sql, limits)
    if isinstance(found, Failure):
        connection.execute("ROLLBACK TO asked")
        return found
    connection.execute("SET LOCAL debug_print_parse = off; SET LOCAL search_path = pg_catalog")
    failure = _judged(connection, found.tree, scoring)
    if not scoring:
        _know_arrays(connection, found.kinds)
    connection.execute("ROLLBACK TO asked")
    return failure


class Parsed(NamedTuple):
    """The server's tree of an analysed query, not yet planned, and its columns' types."""

    tree: str
    kinds: list[int]


def parsed(connection: Any, sql: str, limits: Limits) -> Parsed | Failure:
    """What the server makes of a SELECT, VALUES or TABLE statement."""
    trees: list[str] = []
    listen = lambda notice: trees.append(notice.message_detail or "")  # noqa: E731
    connection.execute(
        "SET LOCAL debug_pretty_print = off; SET LOCAL client_min_messages = log; SET LOCAL debug_print_parse = on"
    )
    pg = connection.pgconn
    connection.add_notice_handler(listen)
    try:
        pg.send_prepare(b"", sql.encode())
        deadline = time.monotonic() + limits.seconds + postgres.GRACE_SECONDS
        result = postgres.next_result(pg, deadline)
        while postgres.next_result(pg, deadline) is not None:
            pass
    finally:
        connection.remove_notice_handler(listen)
    if result.error_message:
        return postgres.result_failure(result, hint=True)
    if len(trees) != 1 or not trees[0].startswith("{QUERY"):
        return Failure("refused", "the server does not say what the query's names resolve to (debug_print_parse)")
    if not re.match(r"\{QUERY\s+:commandType\s+1\s", trees[0]):
        return Failure("refused", "not a SELECT, WITH, VALUES or TABLE statement")
    columns = pg.describe_prepared(b"")
    return Parsed(trees[0], [columns.ftype(place) for place in range(columns.nfields)])


_FUNCTION = re.compile(r":\w*(?:funcid|fnoid|InRangeFunc)\s+(\d+)")
_OPERATOR = re.compile(r":\w*(?:opno|opnos|eqop|sortop|neop)\s+(?:\(o\s+)?([\d\s]+)")
_TYPE = re.compile(r":(?!vartype\b)\w*typ(?:e|es|eid|eId)\s+(?:\(o\s+)?([\d\s]+)")  # a column's own cells were checked


def numbers(pattern: re.Pattern, tree: str) -> set[int]:
    """The object numbers that the fields of a tree hold."""
    return {int(number) for found in pattern.findall(tree) for number in found.split()}


def _judged(connection: Any, tree: str, scoring: bool) -> Failure | None:
    """Why a tree is not run, by what the catalogue says of all that it may call."""
    if scoring and "{SQLVALUEFUNCTION" in tree:
        return Failure("refused", "CURRENT_DATE and its sisters, and names of the session, differ from call to call")
    types = sorted(numbers(_TYPE, tree))
    checks = [check for (check,) in connection.execute(_CHECKS, [types]).fetchall()]
    functions, operators = (
        sorted(set().union(*(numbers(pattern, text) for text in [tree, *checks]))) for pattern in (_FUNCTION, _OPERATOR)
    )
    refused = connection.execute(
        _REFUSED,
        {
            "functions": functions, "operators": operators, "types": types, "harmless": [] if scoring else HARMLESS,
            "telling": postgres.CHANGING if scoring else f"^({postgres.TELLING})$",
            "extensions": sorted(postgres.EXTENSIONS),
        },
    ).fetchall()  # fmt: skip
    return Failure("refused", f"{refused[0][0]} is not known to be harmless") if refused else None


# The checks of all domains that types are, or are made of.
_CHECKS = """
WITH RECURSIVE parts(oid) AS (
    SELECT unnest(%s::oid[])
  UNION
    SELECT part.oid FROM parts JOIN pg_type ON pg_type.oid = parts.oid, LATERAL (
        VALUES (typbasetype), (typelem)
      UNION ALL
        SELECT atttypid FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0 AND NOT attisdropped
    ) AS part(oid)
)
SELECT conbin::text FROM pg_constraint JOIN parts ON contypid = parts.oid WHERE contype = 'c'
"""
# Of all that may be called, what may not. Of the server's own functions (numbers below 16384) those may that are not
# volatile and tell only of the data; of an extension's the immutable, because some run a text as SQL in stable ones;
# and nobody else's, because volatility is then what anybody declared.
_REFUSED = """
WITH named(oid) AS (
    SELECT unnest(%(functions)s::oid[])
  UNION
    SELECT oprcode FROM pg_operator WHERE oid = ANY(%(operators)s::oid[])
  UNION
    SELECT io FROM pg_type, LATERAL (VALUES (typinput), (typoutput)) AS io(io) WHERE oid = ANY(%(types)s::oid[])
), called(oid) AS (
    SELECT oid FROM named
  UNION
    SELECT part FROM named JOIN pg_aggregate ON aggfnoid = named.oid, LATERAL (
        VALUES (aggtransfn), (aggfinalfn), (aggcombinefn), (aggserialfn), (aggdeserialfn), (aggmtransfn),
               (aggminvtransfn), (aggmfinalfn)
    ) AS part(part)
)
SELECT format('the function %%s', proc.oid::regprocedure)
FROM called JOIN pg_proc AS proc ON proc.oid = called.oid
LEFT JOIN pg_depend ON classid = 'pg_proc'::regclass AND objid = proc.oid AND refclassid = 'pg_extension'::regclass
    AND deptype = 'e'
LEFT JOIN pg_extension ON pg_extension.oid = refobjid
WHERE NOT CASE
    WHEN proc.oid < 16384 AND pronamespace = 'pg_catalog'::regnamespace
    THEN (provolatile <> 'v' AND proname !~ %(telling)s) OR proname = ANY(%(harmless)s)
    WHEN prokind = 'a' THEN true
    WHEN extname IS NOT NULL
    THEN NOT prosecdef AND (provolatile = 'i' OR (provolatile = 's' AND extname = ANY(%(extensions)s)))
    ELSE false
END
ORDER BY proc.oid
"""

# --- Cells -----------------------------------------------------------------------------------------------------------

_NUMBERS = frozenset("bool int2 int4 int8 oid numeric float4 float8 json jsonb".split())


def _write_as_the_server(connection: Any) -> None:
    from psycopg.adapt import Loader

    class Text(Loader):
        def load(self, data: Any) -> str:
            return bytes(data).decode()

    class Float(Loader):
        def load(self, data: Any) -> float | str:
            text = bytes(data).decode()
            return text if text.lstrip("-") in ("NaN", "Infinity") else float(text)

    class Document(Loader):
        def load(self, data: Any) -> str:
            return document(bytes(data).decode())

    for info in connection.adapters.types:
        if info.name not in _NUMBERS:
            connection.adapters.register_loader(info.oid, Text)
        if info.array_oid:
            _register_array(connection, info.array_oid, info.oid, info.delimiter)
    for name in ("float4", "float8"):
        connection.adapters.register_loader(name, Float)
    for name in ("json", "jsonb"):
        connection.adapters.register_loader(name, Document)


def _register_array(connection: Any, array: int, element: int, delimiter: str) -> None:
    from psycopg.types.array import ArrayLoader

    class Array(ArrayLoader):
        base_oid = element
        delimiter = b","

        def load(self, data: Any) -> Any:
            return Written(bytes(data).decode(), super().load(data))

    Array.delimiter = delimiter.encode()
    connection.adapters.register_loader(array, Array)


def _know_arrays(connection: Any, kinds: list[int]) -> None:
    """Makes those of some types known that are arrays of which the driver has never heard, enums' say."""
    found = connection.execute(
        "SELECT oid, typelem, typdelim FROM pg_type WHERE oid = ANY(%s) AND oid >= 16384 AND typcategory = 'A'", [kinds]
    ).fetchall()
    for array, element, delimiter in found:
        _register_array(connection, array, element, delimiter)
