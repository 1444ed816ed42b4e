"""The clauses of commands: JSON in, messages of the store's contract out. Pure functions."""
