"""`python -m sdsearch` is the command `sdsearch`."""

from sdsearch.cli import main

if __name__ == "__main__":
    main()
