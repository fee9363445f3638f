"""Measure a running agent against what the machine can do: `python -m benchmarks`, see README.md."""
