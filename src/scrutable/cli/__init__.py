"""The command line: verbs, one file each, thin over the library functions. `main` is the entry point."""

from scrutable.cli.frame import main

__all__ = ["main"]
