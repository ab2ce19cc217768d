"""Asking a database: what the prompt shows, what runs, what is refused, and that nothing is changed or steered.

Where the model does not matter, a stub stands in its place and says what the test gives it; one test at the end asks
the real one.
"""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import ROOT

from text2sql.ask import database, session, sqlite
from text2sql.base.errors import UserError, install
from text2sql.base.files import write_json
from text2sql.base.params import ArmParams, read_params
from text2sql.base.resume import file_key
from text2sql.base.text import printable, printable_json
from text2sql.cli import main
from text2sql.engines.sqlite import Answer, Failure
from text2sql.models import schema
from text2sql.scoring import choose
from text2sql.sql.ddl import Table, read_script

SHOP = """
CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(customer_id),
                     ordered DATE, amount REAL);
INSERT INTO customers VALUES (1, 'Ada', 'Seoul'), (2, 'Bo', 'Busan'), (3, '지민', 'Seoul');
INSERT INTO orders VALUES (1, 1, '2026-05-02', 20.5), (2, 1, '2026-05-19', 12.0), (3, 2, '2026-05-30', 99.9);
CREATE VIEW spenders AS SELECT customer_id, SUM(amount) AS total FROM orders GROUP BY customer_id;
"""


def make(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """A folder with the project's parameters and prompts and a small database; the command runs in it."""
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return make(tmp_path / "shop.db", SHOP)


class Stub:
    """Stands for the model: says the given texts, whatever it is asked, and keeps what it was asked."""

    def __init__(self, *texts: str, room: int = 8000) -> None:
        self.texts, self.room = texts, room
        self.prompts: list[str] = []
        self.asked: list[tuple] = []

    def model(self, *loading) -> session.Model:
        self.arm = loading[-2] if loading else None
        return session.Model(self.answer, lambda prompt: sum(map(len, prompt)), len, self.room, lambda row: [])

    def answer(self, prompts, samples=1, seed=0):
        self.prompts += ["".join(prompt) for prompt in prompts]
        self.asked.append((samples, seed))
        return [[self.texts[number % len(self.texts)] for number in range(samples)] for _ in prompts]


@pytest.fixture
def says(monkeypatch):
    """Puts a stub in the model's place."""

    def install(*texts: str, room: int = 8000) -> Stub:
        stub = Stub(*texts, room=room)
        monkeypatch.setattr(session, "load", stub.model)
        monkeypatch.setattr(session, "check_arm", lambda config, arm: None)
        return stub

    return install


def contents(folder: Path) -> dict[str, str]:
    """The checksum of every file beside the database."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


# The command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["sqlite:///shop.db", "shop.db"])
def test_a_question_is_answered_with_sql_and_a_table(shop, says, capsys, address):
    stub = says("SELECT name FROM customers WHERE city = 'Seoul' ORDER BY name;")
    assert main(["ask", "--db", address, "Who lives in Seoul?"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("SELECT name FROM customers WHERE city = 'Seoul' ORDER BY name\n")
    assert "Ada" in out and "지민" in out and "Bo" not in out and err == ""
    assert stub.arm == "finetuned" and stub.asked == [(1, 0)]


def test_the_prompt_is_the_one_that_training_builds(shop, says):
    """The context is the database's own DDL, as for rows with `ingest.database`."""
    from text2sql.models.prompts import build_prompt, read_templates
    from text2sql.sources.schemas import schema_of_database

    stub = says("SELECT 1")
    assert main(["ask", "--db", "shop.db", "고객은 몇 명입니까?"]) == 0
    (config,) = read_params("prompt")
    row = {
        "question": "고객은 몇 명입니까?",
        "language": "ko",
        "context": schema_of_database(shop),
        "dialect": "sqlite",
    }
    assert stub.prompts == [build_prompt(row, read_templates(config), config)]


def test_json_is_one_line_that_holds_everything(shop, says, capsys):
    says("SELECT name, city FROM customers")
    assert main(["ask", "--db", "shop.db", "--json", "--limit", "2", "Who?"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "question": "Who?", "sql": "SELECT name, city FROM customers", "cut": [], "columns": ["name", "city"],
        "rows": [["Ada", "Seoul"], ["Bo", "Busan"]], "more": True,
    }  # fmt: skip


def test_without_running_the_sql_is_all_that_is_shown(shop, says, capsys):
    says("Here it is:\n```sql\nDELETE FROM customers;\n```")
    assert main(["ask", "--db", "shop.db", "--no-run", "Remove all"]) == 0
    assert capsys.readouterr() == ("DELETE FROM customers\n", "")
    assert main(["ask", "--db", "shop.db", "--no-run", "--json", "Remove all"]) == 0
    assert json.loads(capsys.readouterr().out)["sql"] == "DELETE FROM customers"


def test_limit_shows_so_many_rows_and_says_what_is_left(shop, says, capsys):
    says("SELECT name FROM customers")
    assert main(["ask", "--db", "shop.db", "--limit", "1", "Who?"]) == 0
    out, err = capsys.readouterr()
    assert "Ada" in out and "Bo" not in out
    assert err == "the first 1 of 3 rows; --limit shows more\n"


def test_more_rows_than_are_fetched_is_said(shop, says, capsys):
    says("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 20000) SELECT x FROM n")
    assert main(["ask", "--db", "shop.db", "--limit", "1", "Count"]) == 0
    assert capsys.readouterr().err == "the first 1 of more than 10,000 rows; --limit shows more\n"


def test_of_several_candidates_the_majority_counts(shop, says, capsys):
    stub = says(
        "SELECT name FROM customers WHERE customer_id = 2",
        "SELECT COUNT(*) FROM customers",
        "SELECT no_such FROM customers",
        "SELECT COUNT(customer_id) FROM customers",
        "no query at all",
    )
    assert main(["ask", "--db", "shop.db", "--samples", "5", "--seed", "3", "--json", "How many?"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert (reply["sql"], reply["rows"]) == ("SELECT COUNT(*) FROM customers", [[3]])
    assert (reply["agreed"], reply["samples"]) == (2, 5)
    assert stub.asked == [(5, 3)]
    assert main(["ask", "--db", "shop.db", "--samples", "5", "How many?"]) == 0
    assert capsys.readouterr().err == "2 of 5 candidates have this result\n"


def measure(threshold: dict | None) -> None:
    """Adds an arm with samples to the parameters, and what was measured of it."""
    arms = "  voted: {model: models/finetuned, shots: 0, samples: 4}\n\ngenerate:\n"
    path = Path("params.yaml")
    path.write_text(path.read_text(encoding="utf-8").replace("\ngenerate:\n", arms), encoding="utf-8")
    write_json("metrics/arms/voted.json", {"samples": {"n": 4, "threshold": threshold}})


def test_an_answer_that_too_few_candidates_agree_on_is_called_unsure(shop, says, capsys):
    """As the arm with samples was measured; the same model asked without an arm of its own is told by it too."""
    measure({"agreed": 3})
    stub = says("SELECT 1", "SELECT 2", "SELECT 1", "SELECT 3")
    assert main(["ask", "--db", "shop.db", "--arm", "voted", "How many?"]) == 0
    assert stub.asked == [(4, 0)]  # as many as the arm has
    line = "unsure: voted's answers are credible where 3 of 4 candidates agree\n"
    assert capsys.readouterr().err == f"2 of 4 candidates have this result\n{line}"
    assert main(["ask", "--db", "shop.db", "--samples", "2", "--json", "How many?"]) == 0
    assert json.loads(capsys.readouterr().out)["unsure"] is True
    says("SELECT 1", "SELECT 1", "SELECT 1", "SELECT 3")
    assert main(["ask", "--db", "shop.db", "--arm", "voted", "How many?"]) == 0
    assert capsys.readouterr().err == "3 of 4 candidates have this result\n"
    assert main(["ask", "--db", "shop.db", "--arm", "voted", "--no-run", "How many?"]) == 0


def test_where_no_agreement_was_credible_every_answer_is_unsure(shop, says, capsys):
    measure(None)
    says("SELECT 1")
    assert main(["ask", "--db", "shop.db", "--arm", "voted", "How many?"]) == 0
    assert "unsure: however many candidates of voted agree" in capsys.readouterr().err


def test_questions_one_after_another(shop, says, capsys, monkeypatch):
    """A failure does not end the session; the exit code remembers it."""
    says("SELECT COUNT(*) FROM customers")
    monkeypatch.setattr(sys, "stdin", io.StringIO("How many?\n\nAnd again?\n"))
    assert main(["ask", "--db", "shop.db", "--json"]) == 0
    replies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [reply["question"] for reply in replies] == ["How many?", "And again?"]
    says("I cannot say.")
    monkeypatch.setattr(sys, "stdin", io.StringIO("How many?\nAnd again?\n"))
    assert main(["ask", "--db", "shop.db"]) == 1
    assert capsys.readouterr().err == "error: the model's answer holds no SQL; ask in other words\n" * 2


def test_on_a_terminal_questions_have_a_history(shop, says, capsys, monkeypatch):
    """prompt_toolkit on a pipe in the terminal's place."""
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    says("SELECT COUNT(*) FROM customers")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("How many?\n\nAnd now?\n\x04")  # Ctrl-D
        assert main(["ask", "--db", "shop.db", "--json"]) == 0
    assert [json.loads(line)["question"] for line in capsys.readouterr().out.splitlines()] == ["How many?", "And now?"]
    assert "+How many?\n" in Path(".work/questions").read_text(
        encoding="utf-8"
    )  # for the arrow keys, the next time too


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I do not know.", "the model's answer holds no SQL; ask in other words"),
        ("", "the model's answer holds no SQL; ask in other words"),
        ("SELECT name FROM customers WHERE name IN ('a", "the model's SQL breaks off; raise generate.max_new_tokens"),
        ("DROP TABLE customers", "the SQL was refused: not authorized: DROP is not a query"),
        ("SELECT load_extension('x')", "the SQL was refused: "),
        ("SELECT nme FROM customers", "the SQL fails: no such column: nme"),
        ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c", "took too long"),
    ],
)
def test_what_cannot_be_answered_is_one_line(shop, says, capsys, text, said):
    settings = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(settings.replace("  seconds: 5.0 ", "  seconds: 0.5 "), encoding="utf-8")
    says(text)
    assert main(["ask", "--db", "shop.db", "x"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--db", "none.db", "x"], "--db: no such SQLite file as 'none.db'"),
        (["--db", "sqlite://", "x"], "--db: no such SQLite file as ''"),
        (["--db", "params.yaml", "x"], "params.yaml: cannot be read as an SQLite database"),
        (["--db", "oracle://u:s3cret@h/x", "x"], "--db: no such kind of database as oracle"),
        (["--db", "nonsense://u:s3cret@h:port/x", "x"], "--db: not a database URL"),
        (["--db", "shop.db", "--samples", "0", "x"], "--samples 0: must be 1 to 100"),
        (["--db", "shop.db", "--limit", "10001", "x"], "--limit 10001: must be 1 to 10000"),
        (["--db", "shop.db", "--samples", "2", "--no-run", "x"], "leave out --no-run"),
    ],
)
def test_a_wrong_argument_is_one_line_without_secrets(shop, says, capsys, arguments, said):
    says("SELECT 1")
    assert main(["ask", *arguments]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and said in err and err.count("\n") == 1
    assert "s3cret" not in out + err


@pytest.mark.parametrize(("name", "extra"), [("postgresql", "postgres"), ("mysql", "mysql")])
def test_a_missing_driver_is_named_with_its_extra(shop, says, capsys, monkeypatch, name, extra):
    says("SELECT 1")
    monkeypatch.setattr("text2sql.engines.own.importlib.util.find_spec", lambda module: None)
    assert main(["ask", "--db", f"{name}://u:s3cret@127.0.0.1/x", "x"]) == 1
    assert capsys.readouterr().err == f"error: --db: {name} needs its driver; `{install(extra)}`\n"


def test_a_model_that_is_not_there_is_one_line(shop, capsys):
    assert main(["ask", "--db", "shop.db", "--arm", "base", "x"]) == 1
    assert capsys.readouterr().err.startswith("error: models/base: no model yet; run `dvc repro resolve`")
    Path("models/base").mkdir(parents=True)
    Path("models/base/model.json").write_text("{}")
    assert main(["ask", "--db", "shop.db", "x"]) == 1
    said = capsys.readouterr().err
    assert (
        said
        == "error: models/finetuned: no fine-tuned model yet; run `dvc repro`, or ask an untrained arm with --arm\n"
    )


# The schema ------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Table]:
    return read_script(sqlite.schema(path)[0], "sqlite").tables


def test_every_name_survives(tmp_path):
    script = """
    CREATE TABLE "select" ("order" INTEGER PRIMARY KEY, "a ""b"" c" TEXT);
    CREATE TABLE sqlitedata (id INTEGER); CREATE TABLE "sqlite-x" (id INTEGER);
    CREATE TABLE 고객 (이름 TEXT, "주문 수" INTEGER); CREATE TABLE "🍎" ("مرحبا" TEXT);
    CREATE VIEW seen AS SELECT 이름 FROM 고객;
    """
    tables = read(make(tmp_path / "odd.db", script))
    assert {table.name for table in tables} == {"select", "sqlitedata", "sqlite-x", "고객", "🍎", "seen"}
    with closing(sqlite3.connect(":memory:")) as connection:  # what is written for a cut table is SQL too
        for table in tables:
            connection.execute(table.narrowed(table.columns).statement if table.columns else table.statement)
            described = connection.execute(f'PRAGMA table_info("{table.name}")').fetchall()
            assert table.is_view or [row[1] for row in described] == [column.name for column in table.columns]


def test_a_table_cut_to_some_columns_keeps_their_definitions_and_keys(tmp_path):
    script = """
    CREATE TABLE clients(client_code TEXT PRIMARY KEY, plan TEXT);
    CREATE TABLE calls(client_code TEXT, day DATE, n INTEGER, PRIMARY KEY (client_code, day),
                       FOREIGN KEY (client_code) REFERENCES clients(client_code));
    """
    clients, calls = sorted(read(make(tmp_path / "x.db", script)), key=lambda table: -len(table.name))
    assert clients.narrowed(clients.columns[:1]).statement == "CREATE TABLE clients (client_code TEXT PRIMARY KEY)"
    assert calls.narrowed(calls.columns).statement == (
        "CREATE TABLE calls (client_code TEXT, day DATE, n INTEGER, PRIMARY KEY (client_code, day), "
        "FOREIGN KEY (client_code) REFERENCES clients(client_code))"
    )
    assert calls.narrowed(calls.columns[1:2]).statement == "CREATE TABLE calls (day DATE)"


def test_a_broken_view_is_named_and_left_out(shop, says, capsys):
    make(shop, "CREATE TABLE gone (a); CREATE VIEW v AS SELECT a FROM gone; DROP TABLE gone;")
    says("SELECT COUNT(*) FROM customers")
    assert main(["ask", "--db", "shop.db", "x"]) == 0
    assert capsys.readouterr().err.startswith("note: the view v cannot be read and is left out (")


def test_an_empty_database_is_one_line(shop, says, capsys):
    make(Path("empty.db"), "PRAGMA user_version = 1")
    says("SELECT 1")
    assert main(["ask", "--db", "empty.db", "x"]) == 1
    assert "the database has no tables" in capsys.readouterr().err


def test_sample_values_only_where_they_are_allowed(shop, says):
    stub = says("SELECT 1")
    assert main(["ask", "--db", "shop.db", "x"]) == 0
    assert main(["ask", "--db", "shop.db", "--sample-values", "x"]) == 0
    without, with_values = stub.prompts
    assert "Seoul" not in without and "지민" not in without
    assert "city TEXT /* e.g. 'Seoul', 'Busan' */" in with_values


def test_a_run_that_trained_with_values_shows_them_without_being_asked(shop, says):
    settings = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(settings.replace("  values: 0 ", "  values: 1 "), encoding="utf-8")
    stub = says("SELECT 1")
    assert main(["ask", "--db", "shop.db", "x"]) == main(["ask", "--db", "shop.db", "--sample-values", "x"]) == 0
    assert "city TEXT /* e.g. 'Seoul' */" in stub.prompts[0] and stub.prompts[0] == stub.prompts[1]


def test_only_the_named_tables_are_shown(shop, says, capsys):
    stub = says("SELECT 1")
    assert main(["ask", "--db", "shop.db", "--tables", "orders, spenders", "x"]) == 0
    assert "CREATE TABLE orders" in stub.prompts[0] and "CREATE VIEW spenders" in stub.prompts[0]
    assert "CREATE TABLE customers" not in stub.prompts[0]
    assert main(["ask", "--db", "shop.db", "--tables", "order", "x"]) == 1
    assert capsys.readouterr().err.startswith("error: --tables: there is no table order, or the login may not read it;")


def test_a_cut_schema_is_cut_here_too_and_the_count_is_of_all_tables(shop, says, capsys):
    settings = Path("params.yaml").read_text(encoding="utf-8")
    settings = settings.replace("  schema: full ", "  schema: cut ").replace(
        "  schema_tables: 12 ", "  schema_tables: 2 "
    )
    Path("params.yaml").write_text(settings, encoding="utf-8")
    stub = says("SELECT 1")
    assert main(["ask", "--db", "shop.db", "Which customers are there?"]) == 0
    assert capsys.readouterr().err == (
        "the prompt has room for 2 of 3 tables, those nearest to the question (customers, orders)\n"
    )
    assert "spenders" not in stub.prompts[0]


def test_five_hundred_tables_are_cut_to_those_that_matter(shop, says, capsys):
    script = "".join(f"CREATE TABLE thing_{n} (id INTEGER PRIMARY KEY, a{n} TEXT, b{n} REAL);" for n in range(498))
    script += "CREATE TABLE suppliers (supplier_id INTEGER PRIMARY KEY, name TEXT);"
    script += "CREATE TABLE parts (part TEXT, maker INTEGER REFERENCES suppliers(supplier_id), weight REAL);"
    make(Path("many.db"), script)
    stub = says("SELECT part FROM parts", room=2000)
    assert main(["ask", "--db", "many.db", "Which parts have the largest weight?"]) == 0
    (prompt,) = stub.prompts
    assert len(prompt) <= 2000
    assert "CREATE TABLE parts" in prompt and "CREATE TABLE suppliers" in prompt  # its neighbour by a foreign key
    err = capsys.readouterr().err
    count = prompt.count("CREATE TABLE")
    assert err.startswith(
        f"the prompt has room for {count} of 500 tables, those nearest to the question (parts, suppli"
    )
    assert 2 < count < 100


def test_tables_that_have_nothing_to_do_with_the_question_do_not_fill_the_prompt():
    script = "".join(f"CREATE TABLE thing_{n} (id INTEGER, a{n} TEXT);" for n in range(400))
    tables = read_script(
        script + "".join(f"CREATE TABLE orders_{n} (id INTEGER, amount REAL);" for n in range(10))
    ).tables

    def fitting(question: str) -> str:
        write = lambda table, valued: schema.written(table, None, "ddl")  # noqa: E731
        assemble = lambda tables, pieces: schema.assembled(tables, pieces, "ddl", None)  # noqa: E731
        return schema.fit(tables, question, write, assemble, tokens=len, own_size=len, room=9000, total=410)[0]

    assert fitting("Which orders are open?").count("orders_") == 10
    assert 900 < len(fitting("Which orders are open?")) <= schema.UNRELATED
    assert 8900 < len(fitting("Anything?")) <= 9000  # none is known to be of no use


def test_korean_words_find_korean_names():
    tables = read_script(
        "CREATE TABLE 재고 (수량 INT); CREATE TABLE 고객 (이름 TEXT);"
        "CREATE TABLE orders (id INT, x DATE /* 주문 일자 */);"
    ).tables
    assert schema.nearest(tables, "고객이 몇 명인가요?") == ([1, 0, 2], 1)
    assert schema.nearest(tables, "주문을 보여 주세요") == ([2, 0, 1], 1)


def test_a_table_of_many_columns_is_cut_to_those_that_matter(shop, says, capsys):
    columns = ", ".join(f"c{n} TEXT" for n in range(700))
    make(
        Path("wide.db"),
        f"CREATE TABLE wide (id INTEGER PRIMARY KEY, {columns}, height REAL);"
        "INSERT INTO wide (id, height) VALUES (1, 2.5)",
    )
    stub = says("SELECT height FROM wide", room=1000)
    assert main(["ask", "--db", "wide.db", "--json", "What is the height?"]) == 0
    out, err = capsys.readouterr()
    assert "of 702 columns of wide" in err
    assert "id INTEGER PRIMARY KEY" in stub.prompts[0] and "height REAL" in stub.prompts[0]
    assert len(stub.prompts[0]) <= 1000
    assert json.loads(out)["rows"] == [[2.5]]


def test_a_question_that_leaves_no_room_is_one_line(shop, says, capsys):
    says("SELECT 1", room=50)
    assert main(["ask", "--db", "shop.db", "x"]) == 1
    assert "leaves no room for a schema" in capsys.readouterr().err


# Only reading ----------------------------------------------------------------------------------------------------


def test_every_attack_is_refused_and_changes_nothing(shop):
    """The hostile statements of the conformance suite as the model's answers; three end in a harmless first query."""
    before = contents(shop.parent)
    rows = [
        json.loads(line) for line in (ROOT / "tests/conformance/hostile.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    make(Path("t.db"), rows[0]["setup_sql"])
    before = contents(shop.parent)
    (prompt,) = read_params("prompt")
    answered = []
    with database.connect("t.db", 1.0, 10_000) as opened:
        for row in rows:
            model = Stub(row["prediction"]).model()
            try:
                reply = session.reply_to("x", opened, model, prompt, samples=1, seed=0, runs=True)
            except UserError:
                continue
            if isinstance(reply.answer, Answer):
                answered.append(row["id"])
            assert contents(shop.parent) == before, row["id"]
    harmless = {row["id"] for row in rows if row["expected"] is True}
    # Rows without end and long lists are cut or answered here, where scoring calls them errors; the slow opcode of
    # hos-35 comes to its end where the machine is fast enough. None of them writes.
    assert harmless <= set(answered) <= harmless | {"hos-32", "hos-35", "hos-44"}
    assert len(rows) - len(answered) >= 31


@pytest.fixture
def writer(shop):
    """Runs statements on the shop from another process: within one, POSIX file locks would not hold."""
    program = """
import sqlite3, sys
connection = sqlite3.connect("shop.db", isolation_level=None)
for line in sys.stdin:
    connection.execute(line).fetchall()
    print("done", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def write(sql: str) -> None:
            process.stdin.write(sql + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        yield write
        process.stdin.close()


@pytest.mark.parametrize("state", ["closed", "open", "crashed", "copied"])
def test_a_database_in_wal_mode_is_read_whole_and_left_alone(shop, writer, state):
    """Also one that a writer has open, one whose writer died, and one that was copied with its log."""
    path = shop
    if state == "closed":
        make(shop, "PRAGMA journal_mode = WAL; INSERT INTO customers VALUES (4, 'Noor', 'Jeju')")
    else:
        writer("PRAGMA journal_mode = WAL")
        writer("INSERT INTO customers VALUES (4, 'Noor', 'Jeju')")
    if state in ("crashed", "copied"):
        (shop.parent / "other").mkdir()
        path = shop.parent / "other/shop.db"
        for ending in ("", "-wal", "-shm") if state == "crashed" else ("", "-wal"):
            shutil.copyfile(f"{shop}{ending}", f"{path}{ending}")
    names = {file.name for file in path.parent.iterdir()}
    kept = lambda: [file.read_bytes() for file in (path, Path(f"{path}-wal")) if file.exists()]  # noqa: E731
    before = kept()
    with database.connect(str(path), 5.0, 100) as opened:
        assert opened.run("SELECT COUNT(*) FROM customers").rows == [(4,)]
        assert kept() == before
        if state == "open":  # what is written meanwhile is seen
            writer("INSERT INTO customers VALUES (5, 'Kim', 'Ulsan')")
            assert opened.run("SELECT COUNT(*) FROM customers").rows == [(5,)]
    assert {file.name for file in path.parent.iterdir()} == names


def test_a_writer_with_an_open_transaction_is_no_obstacle(shop, writer):
    writer("BEGIN IMMEDIATE")
    writer("INSERT INTO customers VALUES (4, 'Noor', 'Jeju')")
    with database.connect(str(shop), 5.0, 100) as opened:
        assert opened.run("SELECT COUNT(*) FROM customers").rows == [(3,)]
        writer("COMMIT")
        assert opened.run("SELECT COUNT(*) FROM customers").rows == [(4,)]


def test_full_text_tables_are_searched(shop):
    make(shop, "CREATE VIRTUAL TABLE note USING fts5(body); INSERT INTO note VALUES ('red fox'), ('grey owl');")
    with database.connect(str(shop), 5.0, 100, False) as opened:
        assert opened.run("SELECT body FROM note WHERE note MATCH 'fox'").rows == [("red fox",)]


def test_the_clock_is_the_real_one(shop):
    """Scoring pins it; a question about last month means last month."""
    with closing(sqlite3.connect(":memory:")) as other, database.connect(str(shop), 5.0, 100) as opened:
        for _ in range(2):  # the year may turn in between
            if opened.run("SELECT date('now')").rows == other.execute("SELECT date('now')").fetchall():
                return
    pytest.fail("the clock differs")


# Choosing --------------------------------------------------------------------------------------------------------


def test_equal_results_are_counted_as_scoring_compares_them():
    from decimal import Decimal

    rows = [(1, "a"), (2, "b")]
    answers = [
        Answer(1, [(9,)]),
        Failure("schema", "x"),
        Answer(2, rows),
        Answer(2, [("b", 2), ("a", Decimal("1.00"))]),
    ]
    assert choose.choose(["SELECT 1"] * 4, answers) == (2, 2)
    assert choose.choose(["SELECT 1"] * 2, answers[:1] + answers[2:3]) == (0, 1)  # a tie: the first
    assert choose.choose(["SELECT 1"], [answers[1]]) == (0, 0)
    ordered = "SELECT a, b FROM t ORDER BY a"
    assert choose.choose([ordered] * 2, [Answer(2, rows), Answer(2, rows[::-1])]) == (0, 1)


def test_an_empty_result_is_believed_only_where_no_candidate_finds_anything():
    nothing, null, found = Answer(1, []), Answer(1, [(None,)]), Answer(1, [(9,)])
    assert choose.choose(["SELECT 1"] * 4, [nothing, nothing, null, found]) == (3, 1)
    assert choose.choose(["SELECT 1"] * 4, [null, nothing, Failure("schema", "x"), nothing]) == (1, 0)
    assert choose.choose(["SELECT 1"] * 3, [found, Answer(1, [(None,), (2,)]), Answer(1, [(None,), (2,)])]) == (1, 2)


# The terminal ----------------------------------------------------------------------------------------------------


def test_nothing_steers_the_terminal(shop, says, capsys):
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold]x[/bold]"
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute("INSERT INTO customers VALUES (9, ?, ?)", (evil, evil))
    sql = "SELECT name AS \"n\x1b[31m\", '\x1b[2J' FROM customers WHERE customer_id = 9 -- \x1b]0;x\x07"
    says(sql)
    for more in ([], ["--json"]):
        assert main(["ask", "--db", "shop.db", *more, "\x1b[2Jx"]) == 0
        out = "".join(capsys.readouterr())
        assert not set(out) & set("\x1b\x07\x9b\u202e")
        assert "[bold]x[/bold]" in out.replace("\n", "")
    says("SELECT no_such_\x1b[31m FROM customers")
    assert main(["ask", "--db", "shop.db", "x"]) == 1
    assert "\x1b" not in "".join(capsys.readouterr())


def test_escapes_keep_what_was_there_readable():
    assert printable("a\tb\n\x1b[0m 한글 👩\u200d🚀 \ud800") == "a\\tb\\n\\x1b[0m 한글 👩\u200d🚀 \\ud800"
    assert printable("a\nb", keep="\n") == "a\nb"
    assert json.loads(printable_json({"a": "\x9b\u202e한\n"})) == {"a": "\x9b\u202e한\n"}


def test_wide_results_keep_every_value(shop, says, capsys):
    cells = [f"value-{n}-" + "x" * 30 for n in range(30)]
    says("SELECT " + ", ".join(f"'{cell}' AS c{n}" for n, cell in enumerate(cells)))
    assert main(["ask", "--db", "shop.db", "x"]) == 0
    table = capsys.readouterr().out.split("AS c29\n")[1]
    assert all(cell in table for cell in cells)  # one field a line
    long = "y" * 300
    says(f"SELECT 1 AS a, '{long}' AS b")
    assert main(["ask", "--db", "shop.db", "x"]) == 0
    assert capsys.readouterr().out.count("y") == 300 * 2  # folded, none lost; and once in the SQL


def test_cells_of_every_type_are_shown(shop, says, capsys):
    says("SELECT NULL, 1.5, 9e999, x'00ff', 'a' || char(0) || 'b' WHERE 1")
    assert main(["ask", "--db", "shop.db", "--json", "x"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == [[None, 1.5, "inf", "00ff", "a\0b"]]
    assert main(["ask", "--db", "shop.db", "x"]) == 0
    out = capsys.readouterr().out
    assert "NULL" in out and "00ff" in out and "a\\x00b" in out
    says("SELECT name FROM customers WHERE 0")
    assert main(["ask", "--db", "shop.db", "x"]) == 0
    assert "no rows" in capsys.readouterr().out


# Models ----------------------------------------------------------------------------------------------------------


def test_a_served_model_answers(shop, monkeypatch):
    """With `generate.backend: openai` nothing of the model is needed here; its reply is stubbed at the seam."""
    from text2sql.generation import generate

    monkeypatch.setattr(
        generate, "open_arm", lambda pointer, adapter, prompt, config, arm: lambda prompts, samples, seed: [[arm]]
    )
    prompt, config = read_params("prompt", "generate")
    config = config.model_copy(update={"backend": "openai"})
    arm = ArmParams(model="models/finetuned", shots=0)
    session.check_arm(config, arm)
    model = session.load(prompt, config, "finetuned", arm)
    assert model.answer([("x",)], samples=1, seed=0) == [["finetuned"]]
    assert model.room == session.SERVER_CONTEXT - config.max_new_tokens and model.tokens(("x" * 300,)) > 100


def test_an_arm_of_a_merged_model_of_a_file_and_of_a_server_is_asked_too(shop):
    """A merged model that was made from another adapter is refused with the command that makes it anew."""
    config, arms = read_params("generate")[0], ("publish/merged", "exports/a.gguf", "servers/a.yaml")
    merged, exported, reference = (ArmParams(model=model, shots=0) for model in arms)
    session.check_arm(config, reference)
    write_json("models/base/model.json", {})
    for arm, command in ((merged, "merge"), (exported, "export")):
        with pytest.raises(UserError, match=f"{arm.model}: not there; run `python -m text2sql {command}`"):
            session.check_arm(config, arm)
    write_json("models/finetuned/adapter_config.json", {})
    write_json("publish/merged/config.json", {})
    Path("exports").mkdir()
    Path("exports/a.gguf").touch()
    for record, arm in (("publish/merged.json", merged), ("exports/export.json", exported)):
        with pytest.raises(UserError, match=f"{arm.model}: not made from the present models/finetuned"):
            session.check_arm(config, arm)
        write_json(record, {"adapter": file_key(Path("models/finetuned"))})
        session.check_arm(config, arm)
    write_json("models/finetuned/adapter_config.json", {"r": 8})
    with pytest.raises(UserError, match=r"run `python -m text2sql merge`, then `dvc repro`"):
        session.check_arm(config, merged)


@pytest.mark.pipeline
def test_the_real_model_is_asked(real_model, shop):
    """SmolLM2's own weights in a process of their own. What it says is its affair; the command ends in order."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    settings = Path("params.yaml").read_text(encoding="utf-8").replace("max_new_tokens: 96", "max_new_tokens: 24")
    Path("params.yaml").write_text(settings, encoding="utf-8")
    shutil.copytree(real_model, "models/base", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "text2sql", "ask", "--db", "shop.db", "--arm", "base", "Show every name"],
        env=environment, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1, done.stderr  # a remark or an error, no library's noise
    assert done.stdout or done.stderr.startswith("error: ")
