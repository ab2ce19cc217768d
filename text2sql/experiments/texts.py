"""The questions of a run in words, where the machine has its data."""

import os

from dvc.exceptions import DvcException
from dvc.repo import Repo

from text2sql.dataset.rows import read_rows
from text2sql.experiments.runs import EVALUATION, Run, checksum


def question_texts(run: Run) -> dict[str, str]:
    """Id to question text, where the evaluation table is in this machine's DVC cache; else nothing."""
    md5 = checksum(run, EVALUATION)
    try:
        with Repo() as repo:
            path = repo.cache.local.oid_to_path(md5) if md5 else ""
    except DvcException:
        return {}
    if not os.path.exists(path):
        return {}
    return {row["id"]: row["question"] for row in read_rows(path, ["id", "question"])}
