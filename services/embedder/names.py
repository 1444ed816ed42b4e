"""Names of credentials."""

import re

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,48}[A-Za-z0-9])?")
NAME_RULE = "1 to 50 letters, digits, '_' and '-', with a letter or digit at both ends"
