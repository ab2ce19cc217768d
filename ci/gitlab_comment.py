"""The pull-request report for GitLab: writes report.md, and posts it as a note on the merge request where it may.

Run in a merge-request pipeline (`GIT_DEPTH: 0`): python ci/gitlab_comment.py
With GITLAB_TOKEN (a project access token with the scope `api`) the note is written, or that of an earlier run replaced;
without it report.md is the job's artifact and nothing is sent. The other variables are GitLab's own.
"""

import itertools
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

MARK = "<!-- text2sql report -->"
PAGE = 100  # notes a request, the most that GitLab gives


def main() -> int:
    base, head = os.environ["CI_MERGE_REQUEST_DIFF_BASE_SHA"], os.environ["CI_COMMIT_SHA"]
    subprocess.run([sys.executable, "-m", "text2sql", "pr-report", base, head, "--out", "report.md"], check=True)
    token = os.environ.get("GITLAB_TOKEN")
    if not token:
        print("report.md is written; set GITLAB_TOKEN to have it posted as a note")
        return 0
    project, request = os.environ["CI_PROJECT_ID"], os.environ["CI_MERGE_REQUEST_IID"]
    notes = f"{os.environ['CI_API_V4_URL']}/projects/{project}/merge_requests/{request}/notes"
    body = {"body": Path("report.md").read_text(encoding="utf-8")}
    try:
        mine = [note["id"] for note in every_note(notes, token) if note["body"].startswith(MARK)]
        call("PUT", f"{notes}/{mine[0]}", token, body) if mine else call("POST", notes, token, body)
    except urllib.error.URLError as error:
        print(f"error: the note was not posted ({error}); report.md holds it", file=sys.stderr)
        return 1
    print("the note is replaced" if mine else "the note is posted")
    return 0


def every_note(url: str, token: str) -> Iterator[dict]:
    """The notes of the merge request, page by page."""
    for page in itertools.count(1):
        found = call("GET", f"{url}?per_page={PAGE}&page={page}", token)
        yield from found
        if len(found) < PAGE:
            return


def call(method: str, url: str, token: str, body: dict | None = None):
    """One request to GitLab's API; its JSON answer."""
    headers = {"PRIVATE-TOKEN": token, "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main())
