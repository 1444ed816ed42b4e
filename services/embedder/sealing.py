"""Encryption at rest: the master key, and secrets sealed with it.

A secret is AES-256-GCM under the master key with a nonce of its own, bound to the words that say what it is of, so that
a sealed secret copied to another place does not open.
"""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.embedder.secret import Secret
from services.runtime.errors import ConfigurationError

_KEY_BYTES, _NONCE_BYTES = 32, 12
_PROBE = b"orrery master key"


class MasterKeyError(ConfigurationError):
    """The master key is missing, malformed or another one; the message says what to do."""


def load_master_key(data_dir: Path, given: Secret | None) -> Secret:
    """Return the master key as Base64 text: the one given, else the one kept in the data directory, else a new one.

    Raises `MasterKeyError` for a key that is no Base64 of 32 bytes, or a file that others can read.
    """
    if given is not None:
        _key_bytes(given)
        return given
    path = data_dir / "master.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            raise MasterKeyError(f"{path} can be read by other users: run `chmod 600 {path}`") from None
        kept = Secret(path.read_text().strip())
    else:
        kept = Secret(base64.b64encode(os.urandom(_KEY_BYTES)).decode())
        with os.fdopen(descriptor, "w") as file:
            file.write(kept.reveal() + "\n")
            file.flush()
            os.fsync(file.fileno())
    _key_bytes(kept)
    return kept


def _key_bytes(key: Secret) -> bytes:
    try:
        content = base64.b64decode(key.reveal(), validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != _KEY_BYTES:
        raise MasterKeyError(
            f"the master key must be the Base64 of {_KEY_BYTES} bytes; `openssl rand -base64 {_KEY_BYTES}` makes one"
        )
    return content


class Sealer:
    """Seals and opens secrets with a master key. Raises `MasterKeyError` when made with a malformed one."""

    def __init__(self, master_key: Secret) -> None:
        self._cipher = AESGCM(_key_bytes(master_key))

    def seal(self, secret: Secret, *bound_to: str) -> bytes:
        """Return a secret encrypted, to be opened only with the same words."""
        return self._seal(secret.reveal().encode(), _joined(bound_to))

    def open(self, sealed: bytes, *bound_to: str) -> Secret:
        """Return a sealed secret. Raises `InvalidTag` when it is not of these words and this master key."""
        return Secret(self._open(sealed, _joined(bound_to)).decode())

    def probe(self) -> bytes:
        """Return what `fits` tells this master key from another by."""
        return self._seal(_PROBE, b"probe")

    def fits(self, probe: bytes) -> bool:
        """Tell whether a probe was made with this master key."""
        try:
            return self._open(probe, b"probe") == _PROBE
        except (InvalidTag, ValueError):
            return False

    def _seal(self, content: bytes, bound_to: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, bound_to)

    def _open(self, sealed: bytes, bound_to: bytes) -> bytes:
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)


def _joined(words: tuple[str, ...]) -> bytes:
    return "\x00".join(words).encode()
