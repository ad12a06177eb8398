"""``python -m litetext``: the command line, where no ``litetext`` command is on the path."""

from .cli import main

main()
