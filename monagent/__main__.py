"""`python -m monagent` is `monagent`."""

from monagent.cli.main import main

main()
