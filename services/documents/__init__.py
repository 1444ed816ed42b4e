"""What a document is: its JSON, its values and their order, its paths and its rules.

The gateway checks documents on their way in, the store changes and orders them: both mean the same by a number,
a date, a path or a limit because both mean what is written here. Pure functions, no I/O.
"""
