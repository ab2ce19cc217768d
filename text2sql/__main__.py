"""Makes `python -m text2sql` run the command line."""

import sys

from text2sql.cli import main

if __name__ == "__main__":
    sys.exit(main())
