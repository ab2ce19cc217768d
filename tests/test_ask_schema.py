"""What `ask` shows of a database's schema, on the PostgreSQL that the wheel brings and on real SQLite files."""

import sqlite3
from contextlib import closing

import psycopg
import pytest
from conftest import ROOT
from test_ask_servers import mariadb  # noqa: F401  a fixture

from text2sql.ask import database, session
from text2sql.base.errors import UserError
from text2sql.base.params import read_params
from text2sql.engines import postgres
from text2sql.models.prompts import bare_text, build_prompt, read_templates

SALES = """
CREATE SCHEMA sales; CREATE SCHEMA hidden;
CREATE TYPE state AS ENUM ('open', 'it''s paid');
CREATE TABLE customers (id int PRIMARY KEY, "Full Name" text, secret text, home state[]);
CREATE TABLE orders (id int, line int, customer int REFERENCES customers (id), state state, "Margin %" numeric,
  "100%%" int, placed date NOT NULL, PRIMARY KEY (id, line));
CREATE TABLE payments (order_id int, line int, amount numeric,
  FOREIGN KEY (order_id, line) REFERENCES orders (id, line));
CREATE TABLE salaries (who int PRIMARY KEY, amount numeric);
CREATE TABLE bonuses (who int REFERENCES salaries (who), amount numeric);
CREATE TABLE events (at date, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (what);
CREATE TABLE events_2026_rest PARTITION OF events_2026 DEFAULT;
CREATE MATERIALIZED VIEW revenue AS SELECT state, count(*) AS n FROM orders GROUP BY 1;
CREATE VIEW unpaid AS SELECT id FROM orders WHERE state = 'open';
CREATE TABLE sales.regions (code text PRIMARY KEY, name text);
CREATE TABLE sales."Shops" (region text REFERENCES sales.regions (code), customer int REFERENCES public.customers (id));
CREATE TABLE hidden.notes (x int);
COMMENT ON TABLE customers IS 'who buys */ DROP TABLE customers; /*';
COMMENT ON COLUMN orders.state IS 'as the shop sees it';
COMMENT ON VIEW unpaid IS 'orders without payment';
COMMENT ON MATERIALIZED VIEW revenue IS 'refreshed at night';
INSERT INTO customers VALUES (1, 'Ada', 'x'), (2, '지민', 'y'), (3, 'O''Neil', 'z'), (4, 'Ada', 'q');
INSERT INTO events VALUES ('2025-05-01', 'sale'), ('2026-05-01', 'fair');
CREATE ROLE reader LOGIN;
GRANT USAGE ON SCHEMA sales TO reader;
GRANT SELECT ON orders, payments, events, bonuses, unpaid, revenue, sales.regions, sales."Shops" TO reader;
GRANT SELECT (id, "Full Name", home) ON customers TO reader;
GRANT SELECT ON hidden.notes TO reader;
"""


@pytest.fixture(scope="module")
def server():
    """(address of the owner, address of a login that may read a part)."""
    with postgres.private_server() as engine:
        with psycopg.connect(engine.owner, autocommit=True) as connection:
            connection.execute("CREATE DATABASE shop TEMPLATE template0")
        with psycopg.connect(engine.owner, dbname="shop", autocommit=True) as connection:
            connection.execute(SALES)
            folder = connection.info.host
        yield f"postgresql://owner@/shop?host={folder}", f"postgresql://reader@/shop?host={folder}"


def statements(address: str, **how) -> dict[str, str]:
    with database.connect(address, 5.0, 100, **how) as opened:
        assert opened.notes == []
        return {table.name: table.statement for table in opened.tables}


@pytest.fixture(scope="module")
def shown(server):
    return statements(server[0])


def test_names_stand_as_the_engine_writes_them(shown):
    assert '"Margin %" NUMERIC' in shown["orders"] and '"100%%" INTEGER' in shown["orders"]
    assert '"Full Name" TEXT' in shown["customers"]


def test_an_enums_labels_stand_beside_its_columns(shown):
    assert "state state /* as the shop sees it; one of 'open', 'it''s paid' */" in shown["orders"]
    assert "home state[] /* one of 'open', 'it''s paid' */" in shown["customers"]


def test_views_and_comments_are_shown_and_a_comment_cannot_end_itself(shown):
    assert shown["unpaid"] == "CREATE TABLE unpaid (/* view; orders without payment */ id INTEGER)"
    assert shown["revenue"].startswith("CREATE TABLE revenue (/* materialized view; refreshed at night */ state state")
    assert shown["customers"].startswith("CREATE TABLE customers (/* who buys * / DROP TABLE customers; / * */ id INT")


def test_keys_of_one_and_of_several_columns(shown):
    assert "customer INTEGER REFERENCES customers(id)" in shown["orders"]
    assert shown["orders"].endswith("PRIMARY KEY (id, line))")
    assert shown["payments"].endswith("FOREIGN KEY (order_id, line) REFERENCES orders(id, line))")


def test_partitions_are_folded_into_their_parent(shown):
    assert {name for name in shown if name.startswith("events")} == {"events"}


def test_only_what_the_login_may_read_is_shown(server):
    seen = statements(server[1])
    assert seen.keys() == {"customers", "orders", "payments", "events", "bonuses", "unpaid", "revenue"}
    assert "secret" not in seen["customers"] and '"Full Name" TEXT' in seen["customers"]
    assert "salaries" not in seen["bonuses"]  # the parent of its foreign key


def test_another_schema_is_shown_with_its_name(server):
    seen = statements(server[0], schema_name="sales")
    assert seen.keys() == {"sales.regions", "sales.Shops"}
    assert seen["sales.Shops"] == (
        'CREATE TABLE sales."Shops" (region TEXT REFERENCES sales.regions(code), '
        "customer INTEGER REFERENCES customers(id))"
    )
    with pytest.raises(UserError, match="--db: the database has no tables, or none that this login may read"):
        statements(server[1], schema_name="hidden")
    with pytest.raises(UserError, match="--schema none: there is no such schema"):
        statements(server[0], schema_name="none")


def test_named_tables_alone(server, tmp_path):
    assert statements(server[0], tables=["Orders", "customers"]).keys() == {"orders", "customers"}
    with pytest.raises(UserError, match="--tables: there is no table nothing, or the login may not read it; there are"):
        statements(server[0], tables=["orders", "nothing"])
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.executescript("CREATE TABLE a (x); CREATE TABLE b (y); CREATE VIEW c AS SELECT y FROM b;")
    path = str(tmp_path / "a.db")
    assert statements(path, tables=["c", "A"]).keys() == {"a", "c"}
    with pytest.raises(UserError, match="--schema: an SQLite file has one schema; leave it out"):
        statements(path, schema_name="main")


def prompts_of(address: str, question: str, monkeypatch, **changes) -> str:
    """The prompt that `ask` builds, the model's place taken by what keeps it."""
    monkeypatch.chdir(ROOT)
    (config,) = read_params("prompt")
    asked: list[tuple[str, ...]] = []
    answer = lambda prompts, **_: [asked.extend(prompts) or ["SELECT 1"]]  # noqa: E731
    model = session.Model(answer, lambda built: len(bare_text(built)), len, 100_000, lambda row: [])
    with database.connect(address, 5.0, 1000) as opened:
        session.reply_to(
            question, opened, model, config.model_copy(update=changes), samples=1, seed=0, runs=False
        )  # fmt: skip
    return bare_text(asked[0])


def test_values_come_from_the_live_database(server, monkeypatch):
    prompt = prompts_of(server[1], "Who buys?", monkeypatch, values=2)
    assert "\"Full Name\" TEXT /* e.g. 'Ada', '지민' */" in prompt
    assert "what TEXT /* e.g. 'sale', 'fair' */" in prompt and "placed DATE NOT" not in prompt
    assert "placed DATE," in prompt  # of a date the form is known
    assert "\n\nDialect: PostgreSQL\n\n" in prompt


CHANGES = [
    {},
    {"values": 2},
    {"schema_format": "m-schema", "values": 2},
    {"schema_": "cut", "schema_tables": 1, "values": 1},
    {"dialect": True},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_ask_shows_what_training_saw(changes, tmp_path, monkeypatch):
    """The row is as a source with a database makes it."""
    from text2sql.sources.schemas import schema_of_database

    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE clients (id INTEGER PRIMARY KEY, name TEXT, -- as signed\n city VARCHAR(20));"
            "CREATE TABLE calls (client INTEGER REFERENCES clients(id), day DATE, topic TEXT);"
            "INSERT INTO clients VALUES (1, 'Ada', 'Seoul'), (2, 'Bo', 'Busan'), (3, 'Cy', NULL);"
            "INSERT INTO calls VALUES (1, '2026-01-01', 'a bill'), (2, '2026-01-02', 'hi');"
        )
    asked = prompts_of(str(path), "Which city is it?", monkeypatch, **changes)
    row = {
        "db_id": "shop", "dialect": "sqlite", "context": schema_of_database(path), "question": "Which city is it?",
        "language": "en", "database": str(path), "notes": None,
    }  # fmt: skip
    config = read_params("prompt")[0].model_copy(update=changes)
    assert asked == build_prompt(row, read_templates(config), config)
    assert ("'Seoul'" in asked or "Seoul, Busan" in asked) == bool(changes.get("values"))
    assert ("calls" in asked) == (changes.get("schema_") != "cut")


def test_mysql_shows_only_what_the_login_may_read(mariadb):  # noqa: F811
    pymysql = pytest.importorskip("pymysql")
    socket = mariadb.folder.with_name("s")
    owner = {"unix_socket": str(socket), "user": "root", "ssl_disabled": True}
    with closing(pymysql.connect(**owner, autocommit=True)) as connection:
        cursor = connection.cursor()
        for statement in (
            "CREATE DATABASE other",
            "CREATE TABLE other.stock (id INT PRIMARY KEY, `of %` ENUM('a', 'b') COMMENT 'share', secret INT)",
            "CREATE TABLE other.hidden (id INT)",
            "CREATE VIEW other.shown AS SELECT id FROM other.stock",
            "CREATE VIEW other.broken AS SELECT id FROM other.hidden",
            "CREATE USER looker",
            "GRANT SELECT (id, `of %`) ON other.stock TO looker",
            "GRANT SELECT ON other.shown TO looker",
            "GRANT SELECT ON other.broken TO looker",
        ):
            cursor.execute(statement)
        cursor.execute("DROP TABLE other.hidden")
    with database.connect(f"mysql://looker@localhost/other?unix_socket={socket}", 5.0, 100) as opened:
        seen = {table.name: table.statement for table in opened.tables}
    assert seen.keys() == {"stock", "shown"}
    assert "id int(11) PRIMARY KEY, `of %` enum('a','b') /* share */)" in seen["stock"]
    assert opened.notes == ["the view broken cannot be read and is left out"]
