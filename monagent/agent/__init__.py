"""The agent: takes commands, does them, hands in what came of them."""
