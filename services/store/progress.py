"""How far an operation is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is: what it does now, and bytes of work done of those there are to do."""

    stage: str
    done: int
    total: int
