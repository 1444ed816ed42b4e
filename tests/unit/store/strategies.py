"""Random documents: few names and values, so that they meet; every type, so that they differ."""

from decimal import Decimal

from hypothesis import strategies as st

from services.documents.codec import JsonObject, JsonValue

NAMES = ("a", "b", "c", "0", "1", "a.b", "ä")

DATES = st.integers(-2, 2).map(lambda millis: {"$date": millis})
UUIDS = st.sampled_from(
    [
        {"$uuid": "9C5B94B1-35AD-49BB-B118-8E8FC24ABF80"},
        {"$uuid": "9c5b94b1-35ad-49bb-b118-8e8fc24abf80"},
        {"$objectId": "507f191e810c19729de860ea"},
    ]
)
NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([Decimal(text) for text in ("1.0", "-1.5", "0.0", "1E+1", "10.00", "0.1", "-3.0")]),
    st.sampled_from([10**30, -(10**30), 10**30 + 1, Decimal("1e-30")]),
)
STRINGS = st.sampled_from(["", "a", "B", "b", "ab", "\uffff", "\U0001f600", "9c5b94b1-35ad-49bb-b118-8e8fc24abf80"])
SCALARS: st.SearchStrategy[JsonValue] = st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS, DATES, UUIDS)


def _containers(values: st.SearchStrategy[JsonValue]) -> st.SearchStrategy[JsonValue]:
    return st.one_of(
        st.lists(values, max_size=3), st.dictionaries(st.sampled_from(NAMES), values, max_size=3).filter(_plain)
    )


def _plain(value: JsonObject) -> bool:
    return not any(name.startswith("$") for name in value)


VALUES: st.SearchStrategy[JsonValue] = st.recursive(SCALARS, _containers, max_leaves=5)

#: Members of a document without `_id`.
BODIES: st.SearchStrategy[JsonObject] = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)


@st.composite
def documents(draw: st.DrawFn, max_size: int = 6) -> list[JsonObject]:
    """Documents with the ids 0, 1, 2 and so on."""
    bodies = draw(st.lists(BODIES, max_size=max_size))
    return [{"_id": number, **body} for number, body in enumerate(bodies)]


#: Paths that are often there.
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple)
