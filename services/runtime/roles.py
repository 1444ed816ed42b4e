"""What a token allows."""

import enum


class Role(enum.StrEnum):
    """What a token allows; each role allows what those before it do."""

    READ = "read"
    """To find, count and list."""
    WRITE = "write"
    """To insert, change and delete documents as well."""
    ADMIN = "admin"
    """To create and drop collections and keyspaces as well."""

    def allows(self, needed: "Role") -> bool:
        """Tell whether who has this role may do what needs another one."""
        return _ORDER.index(self) >= _ORDER.index(needed)


_ORDER = tuple(Role)
