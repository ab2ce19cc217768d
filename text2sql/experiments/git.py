"""Git's objects and refs, read as they are: commits, DVC's experiments and its queue."""

import re
import subprocess
from collections.abc import Sequence

from text2sql.base.errors import UserError
from text2sql.base.text import printable

DONE, FAILED, QUEUED = "done", "failed", "queued or running"
QUEUES = {"refs/exps/celery/failed": FAILED, "refs/exps/celery/stash": QUEUED}


def git(*arguments: str) -> str:
    """What a git command prints. Raises UserError with git's own words when it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True)
    if done.returncode:
        message = " ".join(done.stderr.decode(errors="replace").split()) or "it failed without a word"
        raise UserError(f"git {arguments[0]}: {message}")
    return done.stdout.decode(errors="replace")


def read_objects(names: Sequence[str]) -> list[bytes | None]:
    """The contents of git objects (`REVISION:./PATH`, from the current folder), None for those that are not there."""
    request = "".join(f"{name}\n" for name in names).encode()
    done = subprocess.run(["git", "cat-file", "--batch"], input=request, capture_output=True)
    if done.returncode:
        raise UserError(f"git cat-file: {' '.join(done.stderr.decode(errors='replace').split())}")
    found: list[bytes | None] = []
    place = 0
    for _ in names:
        end = done.stdout.index(b"\n", place)
        header = done.stdout[place:end]
        place = end + 1
        if header.endswith(b" missing"):
            found.append(None)
        else:
            size = int(header.rsplit(b" ", 1)[1])
            found.append(done.stdout[place : place + size])
            place += size + 1
    return found


def tree(revision: str) -> dict[str, str]:
    """The files of a commit from the current folder down: path to the name of git's object. Links are left out."""
    found = {}
    for line in git("ls-tree", "-r", "-z", revision).split("\0")[:-1]:
        kind, path = line.split("\t", 1)
        mode, _, name = kind.split(" ")
        if mode.startswith("100"):
            found[path] = name
    return found


def experiment_refs() -> list[tuple[str, str, str, str]]:
    """(name, revision, baseline, state) of every experiment: those that ran, and those in DVC's queue."""
    found = []
    queues = []
    for line in git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps/").splitlines():
        revision, ref = line.split(" ", 1)
        match = re.fullmatch(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)", ref)
        if match:
            found.append((match[3], revision, match[1] + match[2], DONE))
        elif ref in QUEUES:
            queues.append(ref)
    for ref in queues:
        # The queue is a git stash: an entry of the reflog for each experiment, "dvc-exp:REVISION:BASELINE:NAME".
        for line in reflog(ref):
            revision, message = line.split(" ", 1)
            match = re.search(r"dvc-exp:[0-9a-f]{40}:([0-9a-f]{40}):?([^:]*)", message)
            if match:
                found.append((match[2] or revision[:7], revision, match[1], QUEUES[ref]))
    return found


def reflog(ref: str) -> list[str]:
    """The commit and message of each entry; none where a worker has just emptied the queue."""
    try:
        return git("log", "--walk-reflogs", "--format=%H %gs", ref).splitlines()
    except UserError:
        if git("for-each-ref", ref):
            raise
        return []


def branches() -> dict[str, str]:
    """Commit to the name of a branch that points at it; the current branch wins."""
    named = dict(
        line.split(" ", 1)
        for line in git("for-each-ref", "--format=%(objectname) %(refname:short)", "refs/heads/").splitlines()
    )
    head = head_revision()
    current = git("rev-parse", "--abbrev-ref", "HEAD").strip()
    return named if current == "HEAD" else named | {head: current}


def head_revision() -> str:
    """The commit that is checked out. Raises UserError where there is none."""
    try:
        return git("rev-parse", "--verify", "--quiet", "HEAD").strip()
    except UserError as error:
        raise UserError("no git repository with a commit here; run from the project's folder") from error


def resolve(name: str) -> tuple[str, str]:
    """(name, commit) of an experiment's name or any git revision; a whole commit id is named by its first 7 digits.

    Of experiments of one name, that of the current commit is meant. Raises UserError when there is none, or where the
    name means several commits: other experiments, or a branch beside a tag or an experiment.
    """
    head = head_revision()
    found = [(revision, baseline) for other, revision, baseline, _ in experiment_refs() if other == name]
    own = [revision for revision, baseline in found if baseline == head] or [revision for revision, _ in found]
    meant = {revision: revision[:7] for revision in own} | refs(name)
    if len(meant) > 1:
        choices = ", ".join(meant.values())
        raise UserError(f"{printable(name)}: several commits have this name; give one of these instead: {choices}")
    if meant:
        return name, next(iter(meant))
    try:
        revision = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
    except UserError as error:
        problem = "no experiment and no git revision of this name; `python -m text2sql experiments` lists them"
        raise UserError(f"{printable(name)}: {problem}") from error
    return (revision[:7] if name == revision else name), revision


def refs(name: str) -> dict[str, str]:
    """Commit to full name of the tags and branches that a short name may mean: git itself would take the tag."""
    kinds = ("refs/tags/", "refs/heads/", "refs/remotes/")
    given = git("for-each-ref", "--format=%(objectname) %(*objectname) %(refname)", *kinds)
    found: dict[str, str] = {}
    for line in given.splitlines():
        revision, peeled, ref = line.split(" ", 2)
        if any(ref == kind + name for kind in kinds):
            found.setdefault(peeled or revision, ref)
    return found
