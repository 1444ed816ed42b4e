"""How a stored vector is shown: what its literal says, on its way between the services and in the store."""

#: The literal of a vector that is shown as `{"$binary": ...}`, with the Base64 of its values as big-endian float32. It
#: is no JSON text, as all other literals are.
BINARY_FORM = b"$binary"
#: Characters of `{"$binary":""}`.
_AROUND_BASE64 = 14


def literal_characters(literal: bytes, values: bytes) -> int:
    """Return how many characters a literal stands for, for a vector of those bytes (little-endian float32)."""
    if literal == BINARY_FORM:
        return _AROUND_BASE64 + 4 * -(-len(values) // 3)
    return len(literal)
