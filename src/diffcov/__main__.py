"""``python -m diffcov``."""

from diffcov.cli.app import main

main()
