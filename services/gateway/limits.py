"""Every limit of the Data API, each one setting with the reference's default.

`ORRERY_LIMIT_<NAME>` or `--limit NAME=VALUE` sets one; `docs/limits.md` lists them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.documents.rules import DocumentLimits


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a gateway. Sizes are in bytes of the request, lengths in characters, counts in documents."""

    body_bytes: int = 20 * 1024 * 1024
    """HTTP body; a larger one is answered 413."""
    number_characters: int = 100
    """A number literal anywhere in a body."""
    nesting_depth: int = 1000
    """Objects and arrays inside one another in a body; Python's own recursion limit is the lower bound here."""
    member_name_characters: int = 50_000
    """A member's name anywhere in a body."""
    insert_many_documents: int = 100
    """Documents of one insertMany."""
    find_page_documents: int = 50
    """Documents of one page of find, and of one find with a sort by fields."""
    sort_candidates: int = 10_000
    """Documents from which on a sort by fields is refused."""
    vector_find_documents: int = 1000
    """Documents of one find by vector."""
    filter_conditions: int = 64
    """Conditions in one filter."""
    in_values: int = 100
    """Values of one `$in` or `$nin`."""
    update_many_documents: int = 50
    """Documents that one updateMany changes before it answers with a page state."""
    delete_many_documents: int = 20
    """Documents that one deleteMany deletes before it answers with `moreData`."""
    count_documents: int = 1000
    """Documents that countDocuments counts before it answers with `moreData`; -1 counts all."""
    max_collections: int = 10
    """Collections of one database, over all its keyspaces."""
    indexes_available: int = 100
    """Indexes of one database; a collection needs `indexes_per_collection` free ones to be created."""
    indexes_per_collection: int = 10
    """Indexes that must be free for one more collection."""
    vector_dimension: int = 4096
    """Dimension of a collection without an embedding service, and elements of one `$vector`."""
    lexical_bytes: int = 8192
    """Size of the distinct terms of one `$lexical`."""
    document: DocumentLimits = field(default_factory=DocumentLimits)
    """Limits on one document: characters, depth, path, members, elements, strings."""


def override(limits: Limits, values: Mapping[str, str]) -> Limits:
    """Return limits with some replaced by name; those of `document` go by their own names.

    Raises `ValueError` for a name that is no limit or a value that is no integer.
    """
    document_names = {item.name for item in dataclasses.fields(DocumentLimits)}
    own_names = {item.name for item in dataclasses.fields(Limits)} - {"document"}
    own: dict[str, int] = {}
    document: dict[str, int] = {}
    for name, text in values.items():
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"the limit {name} has the value {text!r}, which is not an integer") from None
        if name in own_names:
            own[name] = number
        elif name in document_names:
            document[name] = number
        else:
            known = ", ".join(sorted(own_names | document_names))
            raise ValueError(f"there is no limit named {name!r}; the limits are {known}")
    return dataclasses.replace(
        limits,
        **own,
        document=dataclasses.replace(limits.document, **document),
    )
