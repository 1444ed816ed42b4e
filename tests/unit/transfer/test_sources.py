"""Rows from JSON, JSON lines, CSV and Parquet; and as documents."""

import datetime
import gzip
import io
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.documents.codec import JsonValue, encode
from services.transfer.errors import TransferError, UsageError
from services.transfer.mapping import Mapping
from services.transfer.sources import Rejection, Row, json_rows, open_source, parquet_rows
from services.transfer.sources.csv_rows import CsvStyle, read_csv
from services.transfer.sources.json_rows import read_array, read_lines
from services.transfer.sources.opening import format_of


def contents(rows: Any) -> list[JsonValue]:
    return [row.content for row in rows if row.problem is None]


def csv(text: str, **style: Any) -> list[Row]:
    return list(read_csv(io.BytesIO(text.encode()), "people.csv", CsvStyle(**style)))


# --- JSON ---------------------------------------------------------------------


def test_lines_are_rows_and_empty_ones_are_not() -> None:
    rows = list(read_lines(io.BytesIO(b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": 2.50}\r\n{"a": 3}')))

    assert [(row.number, row.content) for row in rows] == [(1, {"a": 1}), (2, {"a": Decimal("2.50")}), (3, {"a": 3})]


def test_a_line_that_is_no_object_is_a_bad_row_alone() -> None:
    rows = list(read_lines(io.BytesIO(b'{"a":\n[1]\n{"a":1}\n\xff\n')))

    assert [row.problem and row.problem.code for row in rows] == [
        "ROW_NOT_JSON",
        "ROW_NOT_AN_OBJECT",
        None,
        "ROW_NOT_JSON",
    ]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
def test_an_array_is_read_whatever_the_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK_BYTES", chunk)
    values: list[JsonValue] = [
        {"a": '], [ { \\ " é', "b": [1, [2, {"c": ","}]]},
        {},
        {"_id": 5, "deep": {"x": {"y": "\\\\"}}},
        {"n": 12345678901234567890123},
    ]
    text = b" [ " + b" , ".join(encode(value) for value in values) + b"\n]\n "

    assert contents(read_array(io.BytesIO(text), "a.json")) == values


def test_a_bad_element_of_an_array_does_not_end_it() -> None:
    rows = list(read_array(io.BytesIO(b'[{"a":1},{"a":tru},7,{"a":2}]'), "a.json"))

    assert [row.problem and row.problem.code for row in rows] == [None, "ROW_NOT_JSON", "ROW_NOT_AN_OBJECT", None]


def test_an_empty_array_has_no_rows() -> None:
    assert list(read_array(io.BytesIO(b"[ ]"), "a.json")) == []


@pytest.mark.parametrize("text", [b"", b'{"a":1}', b'[{"a":1}', b'[{"a":"1}]', b'[{"a":1}] x'])
def test_what_is_no_whole_array_is_told(text: bytes) -> None:
    with pytest.raises(TransferError, match=r"a\.json"):
        list(read_array(io.BytesIO(text), "a.json"))


# --- CSV ----------------------------------------------------------------------


def test_cells_are_what_they_look_like() -> None:
    (row,) = csv("i,d,e,t,f,zip,text,none,minus\n12,1.50,2e3,true,FALSE,007,a b,,-4\n")

    assert row.content == {
        "i": 12,
        "d": Decimal("1.50"),
        "e": Decimal("2e3"),
        "t": True,
        "f": False,
        "zip": "007",
        "text": "a b",
        "minus": -4,
    }


@pytest.mark.parametrize("cell", ["1.", ".5", "+1", "NaN", "1_000", "0x1", " 1", "1e99999", "9" * 101, "yes", "null"])
def test_what_only_resembles_a_number_stays_text(cell: str) -> None:
    assert csv(f"a\n{cell}\n")[0].content == {"a": cell}


def test_strings_leave_every_cell_as_it_stands() -> None:
    assert csv("a,b,c\n1,true,\n", infer=False)[0].content == {"a": "1", "b": "true", "c": ""}


def test_quoted_cells_hold_separators_and_lines() -> None:
    rows = csv('a;b\n"x;y";"two\nlines"\n\n1;2\n', delimiter=";")

    assert [(row.number, row.content) for row in rows] == [(1, {"a": "x;y", "b": "two\nlines"}), (2, {"a": 1, "b": 2})]


def test_cells_of_json_where_asked_for() -> None:
    row, bad = csv(
        'v,t,other\n"[1, 2.5]",5,"{""a"": 1}"\n[1,2,3\n', json_fields=frozenset("v"), text_fields=frozenset("t")
    )

    assert row.content == {"v": [1, Decimal("2.5")], "t": "5", "other": '{"a": 1}'}
    assert bad.problem is not None
    assert bad.problem.code == "CELL_NOT_JSON"
    assert csv('a,b\n"{""x"": 1}",[no\n', json_cells=True)[0].content == {"a": {"x": 1}, "b": "[no"}


def test_a_row_of_another_width_is_bad() -> None:
    assert [row.problem and row.problem.code for row in csv("a,b\n1\n1,2\n1,2,3\n")] == ["ROW_WIDTH", None, "ROW_WIDTH"]


@pytest.mark.parametrize(
    ("text", "said"), [(b"", "first line"), (b"a,,b\n", "column 2"), (b"a,b,a\n", "'a'"), (b"a\n\xff\n", "UTF-8")]
)
def test_a_file_that_cannot_be_read_is_told(text: bytes, said: str) -> None:
    with pytest.raises(TransferError, match=said):
        list(read_csv(io.BytesIO(text), "people.csv", CsvStyle()))


# --- Parquet ------------------------------------------------------------------


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    arrow = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("pyarrow.parquet")
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, datetime.UTC)
    table = arrow.table(
        {
            "i": [1, None],
            "text": ["a", "b"],
            "vector": arrow.array([[0.1, 0.2], [0.3, -4.0]], arrow.list_(arrow.float32())),
            "double": [0.1, float("nan")],
            "when": [moment, None],
            "day": [datetime.date(1970, 1, 11), None],
            "money": [Decimal("1.20"), None],
            "raw": [b"\x00\x01", None],
            "nested": [{"x": [1, None], "y": True}, None],
        }
    )
    path = tmp_path / "rows.parquet"
    tables.write_table(table, path)
    return path


def test_parquet_has_types_of_its_own(parquet: Path) -> None:
    with open_source(str(parquet), "parquet", CsvStyle()) as source:
        first, second = source.rows
        assert (source.size, source.position()) == (2, 2)

    assert first.content == {
        "i": 1,
        "text": "a",
        "vector": [Decimal("0.1"), Decimal("0.2")],
        "double": Decimal("0.1"),
        "when": {"$date": 1767323045678},
        "day": {"$date": 864_000_000},
        "money": Decimal("1.20"),
        "raw": {"$binary": "AAE="},
        "nested": {"x": [1, None], "y": True},
    }
    assert second.problem is not None
    assert second.problem.code == "CELL_NOT_JSON"


def test_without_pyarrow_the_message_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(parquet_rows.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"pip install 'orrery\[parquet\]'"):
        parquet_rows.ParquetFile(tmp_path / "a.parquet")


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(TransferError, match=r"a\.parquet"):
        parquet_rows.ParquetFile(tmp_path / "a.parquet")


# --- opening ------------------------------------------------------------------


def test_a_compressed_file_is_read_and_its_position_known(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a":1}\n' * 3))
    with open_source(str(path), format_of(str(path), None), CsvStyle()) as source:
        assert len(contents(source.rows)) == 3
        assert source.position() == source.size == path.stat().st_size


def test_a_csv_can_be_asked_for_its_position_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    with open_source(str(path), "csv", CsvStyle()) as source:
        assert len(list(source.rows)) == 1
        assert source.position() == source.size


@pytest.mark.parametrize(("path", "given"), [("-", None), ("rows", None), ("a.csv", "xml")])
def test_a_format_that_nobody_can_tell_is_asked_for(path: str, given: str | None) -> None:
    with pytest.raises(UsageError, match="--format"):
        format_of(path, given)


# --- documents ----------------------------------------------------------------


def test_fields_become_what_the_data_api_knows() -> None:
    row = Row(3, {"key": 7, "_id": "old", "story": "Once", "v": [1, 2], "n": 1})
    mapping = Mapping(vectorize="story", identifier="key")

    assert mapping.document(row, "a.csv") == {"_id": 7, "story": "Once", "v": [1, 2], "n": 1, "$vectorize": "Once"}
    assert Mapping("story", drop_field=True).document(row, "a.csv") == {
        "_id": "old",
        "key": 7,
        "v": [1, 2],
        "n": 1,
        "$vectorize": "Once",
    }
    assert Mapping(vector="v").document(row, "a.csv") == {
        "_id": "old",
        "key": 7,
        "story": "Once",
        "n": 1,
        "$vector": [1, 2],
    }


def test_a_missing_id_is_made_of_file_and_row() -> None:
    def identifier(number: int, origin: str, content: int = 1, *, by_content: bool = False) -> JsonValue:
        document = Mapping().document(Row(number, {"a": content}), origin, by_content=by_content)
        assert not isinstance(document, Rejection)
        return document["_id"]

    assert identifier(1, "a.csv") == identifier(1, "a.csv", content=2)
    assert len({identifier(1, "a.csv"), identifier(2, "a.csv"), identifier(1, "b.csv")}) == 3
    assert identifier(1, "stdin", by_content=True) != identifier(1, "stdin", 2, by_content=True)


def test_rows_that_cannot_be_mapped_are_rejected() -> None:
    number = Mapping("story").document(Row(1, {"story": 5}), "a.csv")
    without = Mapping(identifier="key").document(Row(1, {"a": 5}), "a.csv")

    assert isinstance(number, Rejection)
    assert number.code == "INVALID_VECTORIZE_VALUE_TYPE"
    assert isinstance(without, Rejection)
    assert without.code == "ROW_WITHOUT_ID"
    assert "$vectorize" not in Mapping("story").document(Row(1, {"a": 5}), "a.csv")  # type: ignore[operator]


def test_random_arrays_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(5)
    alphabet = '{}[]",:\\ aé\n1'
    for _ in range(200):
        monkeypatch.setattr(json_rows, "_CHUNK_BYTES", generator.randint(1, 9))
        values: list[JsonValue] = [
            {"".join(generator.choices(alphabet, k=4)): "".join(generator.choices(alphabet, k=9))} for _ in range(3)
        ]
        text = b"[" + b",".join(map(encode, values)) + b"]"
        assert contents(read_array(io.BytesIO(text), "a.json")) == values
