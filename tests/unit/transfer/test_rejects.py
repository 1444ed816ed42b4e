"""The rejects file: every rejected row once, whatever happened between its line and the journal's."""

import json
from pathlib import Path

from services.transfer.rejects import Rejects, rejects_path
from services.transfer.sources import Rejection

REASON = Rejection("SHRED_BAD_FIELD_NAME", "The name is bad.")


def rows(path: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["collection"], line["row"]) for line in lines]


def test_a_line_tells_row_reason_and_content(tmp_path: Path) -> None:
    path = rejects_path(tmp_path / "a.csv")
    assert path.name == "a.csv.rejects.jsonl"
    rejects = Rejects(path, "a.csv", "ks.c", lambda row: True)
    rejects.write([])
    assert not path.exists()
    rejects.write([(4, {"$x": 1}, REASON)])
    rejects.close()

    assert json.loads(path.read_text()) == {
        "file": "a.csv",
        "collection": "ks.c",
        "row": 4,
        "code": "SHRED_BAD_FIELD_NAME",
        "message": "The name is bad.",
        "content": {"$x": 1},
    }


def test_lines_of_rows_that_were_not_acknowledged_go(tmp_path: Path) -> None:
    path = tmp_path / "r"
    first = Rejects(path, "a.csv", "ks.c", lambda row: True)
    first.write([(number, {}, REASON) for number in (1, 2, 3)])
    first.close()
    other = Rejects(path, "a.csv", "ks.other", lambda row: True)
    other.write([(3, {}, REASON)])
    other.close()
    with path.open("ab") as file:
        file.write(b'{"file":"a.csv","collection":"ks.c","row":1,"co')

    again = Rejects(path, "a.csv", "ks.c", lambda row: row == 3)
    again.write([(3, {}, REASON)])
    again.close()

    assert again.count == 3
    assert rows(path) == [("ks.c", 1), ("ks.c", 2), ("ks.other", 3), ("ks.c", 3)]
