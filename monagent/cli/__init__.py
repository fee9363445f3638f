"""The command lines `monagent` and `monserver`: one module for each noun."""
