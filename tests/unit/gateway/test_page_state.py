"""Page states: they come back as they were sealed, and no other way."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.page_state import PageState, seal, unseal
from services.runtime.errors import DataApiError

POSITIONS = st.integers(min_value=0, max_value=2**63)


@given(after=POSITIONS, remaining=st.none() | st.integers(min_value=0, max_value=2**62))
def test_a_sealed_state_comes_back(after: int, remaining: int | None) -> None:
    state = PageState(after, remaining)

    assert unseal(seal(state, "uid"), "uid") == state


@given(after=POSITIONS, position=st.integers(min_value=0, max_value=32), flipped=st.integers(1, 255))
def test_a_state_with_any_byte_changed_is_refused(after: int, position: int, flipped: int) -> None:
    content = bytearray(base64.urlsafe_b64decode(seal(PageState(after, 5), "uid")))
    content[position] ^= flipped

    with pytest.raises(DataApiError, match="page state"):
        unseal(base64.urlsafe_b64encode(content).decode(), "uid")


def test_a_state_of_another_collection_is_refused() -> None:
    with pytest.raises(DataApiError, match="page state"):
        unseal(seal(PageState(1), "uid"), "other")


@pytest.mark.parametrize("text", ["", "x", "not base64!", "AAAA", "é" * 20])
def test_what_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(DataApiError, match="page state"):
        unseal(text, "uid")
