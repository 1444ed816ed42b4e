"""The page of compatibility against a run: what counts as a difference."""

from tests.contract.compatibility import SECTIONS, differences

COMMANDS, ERRORS = SECTIONS[0][1], next(heading for kind, heading, _ in SECTIONS if kind == "error")
PAGE = f"""## {COMMANDS}
| `find` | works | 3 |
## {ERRORS}
| `TIMEOUT` | HTTP 200 | 2 |
"""


def test_a_page_that_says_what_was_seen_does_not_differ() -> None:
    assert differences(PAGE, PAGE) == []


def test_a_feature_that_is_missing_new_or_seen_otherwise_differs() -> None:
    assert differences(PAGE, PAGE.replace("| `find` | works | 3 |", "| `find` | works | 4 |"))
    assert differences(PAGE, PAGE.replace("`find`", "`findOne`"))
    assert differences("", PAGE)


def test_an_error_that_is_no_longer_seen_differs_and_one_more_does_not() -> None:
    assert differences(PAGE, PAGE.replace("| `TIMEOUT` | HTTP 200 | 2 |\n", ""))
    assert differences(PAGE, PAGE + "| `UNAVAILABLE` | HTTP 200 | 1 |\n") == []
    assert differences(PAGE, PAGE.replace("HTTP 200 | 2", "HTTP 200 | 5")) == []
