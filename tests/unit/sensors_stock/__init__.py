"""The stock sensors, run as the agent runs them."""
