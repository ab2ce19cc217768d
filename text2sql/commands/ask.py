"""Ask a database a question: the model writes the SQL, which runs where it can only read.

python -m text2sql ask --db sqlite:///shop.db "Which customers ordered twice in May?"
python -m text2sql ask --db postgresql://reader@localhost/shop --arm base --samples 5 "How many orders are open?"
python -m text2sql ask --db shop.db                     # one question after another

--db is an SQLAlchemy URL, or the path of an SQLite file; PostgreSQL and MySQL need the extras `postgres` and `mysql`.
The exit code is 0 when every question was answered. docs/ask.md tells what is read, shown, sent and refused.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from text2sql.base.arms import kinds, of_kind
from text2sql.base.errors import UserError
from text2sql.base.params import read_arm, read_params
from text2sql.base.resume import FOLDER
from text2sql.base.text import one_line

if TYPE_CHECKING:
    from text2sql.ask import show

SAMPLES = 3  # values of a column, where prompt.values is 0 and --sample-values asks for some


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", nargs="?", help="the question (default: ask for one after another)")
    parser.add_argument("--db", required=True, metavar="URL", help="the database")
    parser.add_argument("--arm", metavar="NAME", help="of params.yaml's list (default: the first trained arm)")
    parser.add_argument(
        "--samples",
        type=int,
        metavar="N",
        help="candidates, of which the majority counts (default: as many as the arm's)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the candidates after the first (default: 0)")
    parser.add_argument("--schema", metavar="NAME", help="a server's schema (default: the login's own)")
    parser.add_argument("--tables", metavar="A,B", default="", help="the only tables to show the model")
    parser.add_argument(
        "--sample-values", action="store_true", help="show the model 3 values of each text column if it learnt without"
    )
    parser.add_argument("--retries", type=int, default=0, metavar="N", help="ask again with the database's error")
    parser.add_argument("--limit", type=int, metavar="N", help="rows to show (default: 50; with --csv all)")
    parser.add_argument("--no-run", action="store_true", help="show the SQL and run nothing")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one line of JSON an answer")
    form.add_argument("--csv", action="store_true", help="the rows as CSV; the SQL goes to stderr")
    parser.add_argument("--trust-login", action="store_true", help="use a login that may do more than read")


def run(args: argparse.Namespace) -> int:
    from text2sql.ask import database, session, show  # databases' drivers, slow to load

    if args.limit is None:
        args.limit = show.ROWS if args.csv else 50
    for name, least, most in (("samples", 1, 100), ("retries", 0, 10), ("limit", 1, show.ROWS)):
        if getattr(args, name) is not None and not least <= getattr(args, name) <= most:
            raise UserError(f"--{name} {getattr(args, name)}: must be {least} to {most}")
    if args.samples is not None and args.samples > 1 and args.no_run:
        raise UserError("--samples: candidates are told apart by running them; leave out --no-run")
    if args.csv and args.no_run:
        raise UserError("--csv: shows rows, and --no-run gives none; leave out one of them")
    shown = show.print_json if args.json else show.print_csv if args.csv else show.show
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    prompt, config, score, arms = read_params("prompt", "generate", "score", "arms")
    name = args.arm or of_kind(kinds(arms), "trained")[0]
    arm = read_arm(name)
    samples = args.samples or (1 if args.no_run else arm.samples)
    measured = session.measured_samples(arms, name)
    if args.sample_values and not prompt.values:
        prompt = prompt.model_copy(update={"values": SAMPLES})
    tables = [name.strip() for name in args.tables.split(",") if name.strip()]
    session.check_arm(config, arm)
    database.check(args.db)
    with (
        session.in_background(session.load, prompt, config, name, arm) as loading,
        database.connect(args.db, score.seconds, show.ROWS, args.schema, tables) as opened,
    ):
        if opened.powers and not args.trust_login:
            raise UserError(
                f"--db: the login is {opened.powers}; use one that may only read (docs/security.md has the lines that"
                " make it), or take the risk with --trust-login"
            )
        for note in opened.notes:
            show.say(f"note: {note}")
        failed = 0
        for question in [args.question] if args.question is not None else questions():
            try:
                reply = session.reply_to(
                    question, opened, loading.result(), prompt,
                    samples=samples, seed=args.seed, runs=not args.no_run, retries=args.retries,
                )  # fmt: skip
                if reply.examples:
                    show.say(f"the prompt shows {reply.examples} training rows as examples, as arm {name} does")
                for line in reply.cut:
                    show.say(f"the prompt has room for {line}")
                for _, error in reply.tried:
                    show.say(f"asked again after: {one_line(error)}")
                shown(reply._replace(unsure=session.unsure(reply, measured)), args.limit)
                if isinstance(reply.answer, show.Failure):
                    raise UserError(failure_line(reply.answer))
            except UserError as error:
                if args.question is not None:
                    raise
                show.say(f"error: {error}")
                failed += 1
    return 1 if failed else 0


def failure_line(failure: "show.Failure") -> str:
    """One line for a query without an answer."""
    what = {
        "refused": "the SQL was refused",
        "not_a_query": "the SQL was refused",
        "timeout": "the SQL took too long (score.seconds)",
        "too_large": "the SQL asks for too much",
    }
    return f"{what.get(failure.outcome, 'the SQL fails')}: {one_line(failure.error)}"


def questions() -> Iterator[str]:
    """Questions typed one after another, with history and editing on a terminal; blank lines are passed over."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    FOLDER.mkdir(exist_ok=True)
    prompts: PromptSession[str] = PromptSession(history=FileHistory(str(FOLDER / "questions")))
    with contextlib.suppress(EOFError):  # Ctrl-D
        while True:
            if question := prompts.prompt("question: ").strip():
                yield question
