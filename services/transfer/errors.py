"""What ends a transfer before its end."""


class TransferError(Exception):
    """A transfer cannot go on; the message says what happened, where, and what to do."""


class UsageError(TransferError):
    """What was asked for cannot be done as it was asked for; nothing was read or written."""


class RefusedError(TransferError):
    """The endpoint refuses the whole transfer, not one document: `code` is the Data API's."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"{message} ({code})")
