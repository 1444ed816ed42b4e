"""Python's garbage collector, set for processes that serve."""

import gc

#: Objects made, less those freed, before the youngest are looked at: a few requests' worth, not a part of one.
_YOUNG_OBJECTS = 20_000
_YOUNG_COLLECTIONS = 20
_MIDDLE_COLLECTIONS = 50


def spare_what_stays() -> None:
    """Take all there is now out of every later collection, and collect less often.

    To be called once a service has started. What it made by then (modules, classes, messages' descriptors) lives as
    long as the process, and looking it over again and again was a good part of the cost of a request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_COLLECTIONS, _MIDDLE_COLLECTIONS)
