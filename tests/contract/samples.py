"""Documents that several files of the suite start from."""

from typing import Any

#: Documents with values of every type.
BODIES: list[dict[str, Any]] = [
    {"_id": 1, "name": "Ceres", "radius": 469.7, "tags": ["ice", "belt"], "orbit": {"au": 2.77, "around": "Sun"}},
    {"_id": 2, "name": "Europa", "radius": 1560.8, "tags": ["ice", "ocean"], "orbit": {"around": "Jupiter", "au": 5.2}},
    {"_id": 3, "name": "Io", "radius": 1821, "tags": ["volcano"], "orbit": None, "seen": {"$date": 1000}},
    {"_id": 4, "name": "Halley", "tags": [], "seen": {"$date": 2000}, "a.b": {"c&d": True}},
    {"_id": 5, "name": 7, "radius": "unknown", "tags": "ice", "alive": False},
]

#: What updates start from.
START: dict[str, Any] = {"_id": 1, "n": 5, "t": "text", "o": {"a": 1, "b": {"c": 2}}, "l": [1, 2, 3], "z": None}
