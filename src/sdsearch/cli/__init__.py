"""The command line: a file for each command."""

from sdsearch.cli.app import app, main

__all__ = ["app", "main"]
