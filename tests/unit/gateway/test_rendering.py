"""Documents as answers show them: the stored bytes, with the special fields last."""

import numpy as np
import pytest
from orrery.store.v1 import store_pb2 as pb

from services.gateway.rendering import render_document

VALUES = np.array([0.1, 0.25], "<f4").tobytes()


@pytest.mark.parametrize(
    ("document", "similarity", "expected"),
    [
        (pb.Document(json=b'{"_id":1, "n":1.50}'), None, b'{"_id":1, "n":1.50}'),
        (pb.Document(json=b"{}"), 0.5, b'{"$similarity":0.5}'),
        (pb.Document(json=b'{"_id":1}'), 0.5, b'{"_id":1,"$similarity":0.5}'),
        (
            pb.Document(json=b'{"_id":1}', vector=pb.Vector(values=VALUES)),
            None,
            b'{"_id":1,"$vector":[0.1,0.25]}',
        ),
        (
            pb.Document(json=b'{"_id":1}', vector=pb.Vector(values=VALUES, literal=b'{"$binary":"x"}')),
            None,
            b'{"_id":1,"$vector":{"$binary":"x"}}',
        ),
        (
            pb.Document(json=b'{"_id":1}', vector=pb.Vector(values=VALUES, literal=b"$binary")),
            None,
            b'{"_id":1,"$vector":{"$binary":"PczMzT6AAAA="}}',
        ),
        (pb.Document(json=b'{"_id":1}', vector=pb.Vector()), None, b'{"_id":1,"$vector":null}'),
        (
            pb.Document(json=b'{"_id":1}', vectorize=b'"t"', lexical=b"null"),
            0.25,
            b'{"_id":1,"$vectorize":"t","$lexical":null,"$similarity":0.25}',
        ),
    ],
)
def test_special_fields_are_put_back(document: pb.Document, similarity: float | None, expected: bytes) -> None:
    found = pb.FoundDocument(document=document, similarity=similarity)

    assert bytes(render_document(found, include_similarity=True)) == expected


def test_similarity_shows_only_where_it_was_asked_for() -> None:
    found = pb.FoundDocument(document=pb.Document(json=b"{}"), similarity=1)

    assert bytes(render_document(found, include_similarity=False)) == b"{}"
