"""`python -m sdsearch` is the command `sdsearch`."""

import os
import sys

# With -m, Python puts the working directory first on its path: no code is to run because the command is given in a
# folder that somebody downloaded. What PYTHONPATH names stays.
if not sys.flags.safe_path and sys.path[0] == os.getcwd():
    del sys.path[0]

from sdsearch.cli import main

if __name__ == "__main__":
    main()
