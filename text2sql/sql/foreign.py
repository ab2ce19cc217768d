"""Constructs of other dialects in a text that SQLite finds no syntax in: another system's SQL, or broken SQL?"""

import re

import sqlglot

from text2sql.sql.tokens import tokens

# What is called how, and the dialects in which it is syntax; none of it is SQLite's. Literals are blanked to ''.
_CONSTRUCTS = [
    (re.compile(pattern, re.IGNORECASE), name, dialects.split())
    for pattern, name, dialects in (
        (r"\bAUTO_INCREMENT\b", "AUTO_INCREMENT", "mysql"),
        (r"\bENGINE\s*=", "ENGINE", "mysql"),
        (r"\b(?:DEFAULT\s+)?(?:CHARSET\b|CHARACTER\s+SET\b)", "CHARACTER SET", "mysql"),
        (r"\bCOMMENT\s+''", "COMMENT", "mysql"),
        (r"[(,]\s*(?:KEY|INDEX)\s+[`\w]+\s*\(", "KEY in a table", "mysql"),
        (r"\b(?:ENUM|SET)\s*\(\s*''", "ENUM", "mysql"),
        (r"\bINTERVAL\b\s*\(*\s*(?:''|-?\d|[a-z_])", "INTERVAL", "mysql postgres bigquery snowflake"),
        (r"\bDATE_?(?:DIFF|ADD|PART|TRUNC)\s*\(\s*\w+\s*,", "a date function with a unit", "tsql snowflake bigquery"),
        (r"\bDEFAULT\s+\w+\s*\(", "a function as DEFAULT", "mysql postgres"),
        (r"\bON\s+DUPLICATE\s+KEY\b", "ON DUPLICATE KEY", "mysql"),
        (r"\bSEPARATOR\s+''", "SEPARATOR", "mysql"),
        (r"\bWITH\s+ROLLUP\b|\b(?:ROLLUP|CUBE|GROUPING\s+SETS)\s*\(", "ROLLUP", "mysql postgres tsql oracle"),
        (r"\bSTRAIGHT_JOIN\b|\bXOR\b|\bDIV\b|\bRLIKE\b", "an operator of MySQL", "mysql"),
        (r"::\s*\w", "a cast with ::", "postgres duckdb snowflake redshift"),
        (r"\bILIKE\b", "ILIKE", "postgres duckdb snowflake"),
        (r"\bSIMILAR\s+TO\b|!?~\*?\s*''", "a match with a pattern", "postgres"),
        (r"\bEXTRACT\s*\(\s*\w+\s+FROM\b", "EXTRACT", "postgres mysql oracle"),
        (r"\b(?:SUBSTRING|TRIM|POSITION)\s*\([^()]*\b(?:FROM|IN)\b", "a function with FROM or IN", "postgres mysql"),
        (r"\b(?:DATE|TIME|TIMESTAMP)\s+''", "a literal of date or time", "postgres mysql oracle"),
        (r"\b(?:LEFT|RIGHT)\s*\([^()]+,", "LEFT or RIGHT of a text", "mysql postgres tsql"),
        (r"\bISNULL\s*\(", "the function ISNULL", "tsql mysql"),
        (r"\bDISTINCT\s+ON\s*\(", "DISTINCT ON", "postgres duckdb"),
        (r"\bLATERAL\b|\bUNNEST\s*\(", "LATERAL or UNNEST", "postgres bigquery"),
        (r"\bARRAY\s*[\[(]|\w\s*\[\s*\]", "an array", "postgres duckdb bigquery"),
        (r"[=<>]\s*(?:ANY|ALL|SOME)\s*\(", "a comparison with ANY or ALL", "postgres mysql tsql oracle"),
        (r"\bGENERATED\s+(?:ALWAYS|BY\s+DEFAULT)(?:\s+ON\s+NULL)?\s+AS\s+IDENTITY\b", "IDENTITY", "postgres oracle"),
        (r"\bWITHIN\s+GROUP\b|\bPERCENTILE_CONT\s*\(", "WITHIN GROUP", "postgres tsql oracle snowflake"),
        (r"\bCREATE\s+(?:OR\s+REPLACE\s+)?(?:TYPE|SCHEMA|DATABASE|SEQUENCE|FUNCTION|PROCEDURE|EXTENSION)\b",
         "CREATE of what SQLite does not have", "postgres mysql tsql oracle"),
        (r"\bCREATE\s+OR\s+REPLACE\b", "CREATE OR REPLACE", "postgres mysql duckdb"),
        (r"\bCOMMENT\s+ON\b", "COMMENT ON", "postgres"),
        (r"\bALTER\s+TABLE\b.*?\b(?:ADD\s+(?:CONSTRAINT|PRIMARY|FOREIGN|UNIQUE)|ALTER\s+COLUMN|MODIFY|OWNER\s+TO)\b",
         "ALTER TABLE of a constraint", "postgres mysql tsql"),
        (r"(?:^|;)\s*(?:USE|SET|TRUNCATE|GRANT|LOCK|SHOW|DESCRIBE|CALL|EXEC|DECLARE)\b", "a command of a server",
         "mysql postgres tsql"),
        (r"(?:^|\n)\s*GO\s*(?:\n|;|$)", "GO", "tsql"),
        (r"\bSELECT\s+(?:DISTINCT\s+|ALL\s+)?TOP\s*\(?\s*\d+", "TOP", "tsql"),
        (r"\bIDENTITY\s*\(", "IDENTITY", "tsql"),
        (r"\bN''|\bWITH\s*\(\s*NOLOCK\b|\b(?:CROSS|OUTER)\s+APPLY\b", "syntax of SQL Server", "tsql"),
        (r"\bFETCH\s+(?:FIRST|NEXT)\b|\bOFFSET\s+\d+\s+ROWS?\b", "FETCH FIRST", "tsql oracle postgres"),
        (r"\b(?:PIVOT|UNPIVOT)\s*\(", "PIVOT", "tsql oracle snowflake"),
        (r"\bQUALIFY\b", "QUALIFY", "snowflake bigquery duckdb"),
        (r"\bMINUS\s+SELECT\b|\bCONNECT\s+BY\b|\(\s*\+\s*\)", "syntax of Oracle", "oracle"),
        (r"\bFOR\s+UPDATE\b", "FOR UPDATE", "postgres mysql oracle"),
        (r"\bSTRUCT\s*[<(]|\bEXCEPT\s*\(", "syntax of BigQuery", "bigquery"),
    )
]  # fmt: skip


# Functions of other systems that sqlglot has no name for
FOREIGN_FUNCTIONS = frozenset(
    "AGE CHOOSE DATEPART DATE_PART FIELD FIND_IN_SET INET_ATON LISTAGG MID PATINDEX PERIOD_DIFF REGEXP STRING_AGG "
    "TRY_CONVERT VAR".split()
)


def foreign_construct(sql: str) -> str | None:
    """The construct of another dialect in a text, where that dialect can read the whole of it; None for broken SQL."""
    bare = "".join(
        "''" if token.kind == "literal" else " " if token.kind == "comment" else token.text for token in tokens(sql)
    )
    for pattern, name, dialects in _CONSTRUCTS:
        if pattern.search(bare) and any(_reads(sql, dialect) for dialect in dialects):
            return name
    return None


def _reads(sql: str, dialect: str) -> bool:
    try:
        return bool(sqlglot.parse(sql, dialect=dialect))
    except (sqlglot.errors.SqlglotError, RecursionError, ValueError, AttributeError, TypeError):
        return False
