"""Sources of rows: JSON, JSON lines, CSV and Parquet, from files or standard input."""

from services.transfer.sources.opening import FORMATS, Source, open_source
from services.transfer.sources.row import Rejection, Row

__all__ = ["FORMATS", "Rejection", "Row", "Source", "open_source"]
