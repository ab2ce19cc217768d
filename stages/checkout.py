"""Imported first by every stage: Python looks for modules in the project's folder first, and in stages/ last.

Otherwise a stage of another checkout than the installed one (a worktree, the folder of a queued experiment) would run
the installed library, and a neighbour would import stages/select.py in place of Python's own `select`.
"""

import os
import sys

STAGES = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(STAGES)

sys.path[:] = [PROJECT, *(path for path in sys.path if os.path.abspath(path) not in (PROJECT, STAGES)), STAGES]
# For processes that a stage starts with `python -m`.
others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", PROJECT)]
os.environ["PYTHONPATH"] = os.pathsep.join([PROJECT, *others])
