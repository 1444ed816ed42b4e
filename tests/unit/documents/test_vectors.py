"""What a vector's literal says of how it is shown."""

import base64

import msgspec
import pytest

from services.documents.vectors import BINARY_FORM, literal_characters


@pytest.mark.parametrize("numbers", [1, 2, 3, 384])
def test_the_binary_form_counts_as_the_text_that_it_stands_for(numbers: int) -> None:
    values = bytes(4 * numbers)
    text = msgspec.json.encode({"$binary": base64.b64encode(values).decode()})

    assert literal_characters(BINARY_FORM, values) == len(text)


def test_any_other_literal_is_the_text_itself() -> None:
    assert literal_characters(b"[0.10]", bytes(4)) == 6
    assert literal_characters(b"", bytes(4)) == 0
