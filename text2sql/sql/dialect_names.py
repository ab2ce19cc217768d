"""The names of SQL dialects: sqlglot's, and what people call the same systems."""

import functools

import sqlglot

# What systems are called beside sqlglot's names
ALIASES = {
    "postgresql": "postgres",
    "psql": "postgres",
    "mariadb": "mysql",
    "mssql": "tsql",
    "sqlserver": "tsql",
    "sql server": "tsql",
    "t-sql": "tsql",
    "sqlite3": "sqlite",
}


def dialect_name(dialect: str) -> str:
    """sqlglot's name of a dialect, in lower case; one that it does not know stays as it is."""
    name = dialect.strip().lower()
    return ALIASES.get(name, name)


@functools.cache
def known(dialect: str) -> bool:
    """Whether sqlglot knows a dialect, by its own name or one of ALIASES."""
    return sqlglot.Dialect.get(dialect_name(dialect)) is not None


def unknown_dialect(dialect: str) -> str:
    return f"unknown SQL dialect {dialect!r}; use a name sqlglot knows: sqlite, mysql, postgres …"
