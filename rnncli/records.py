"""Records as JSON, one object per line, and as CSV, one row per record: for files and other programs."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def json_line(value: Any) -> str:
    """JSON on one line, with null for numbers that JSON lacks (infinity, nan)."""
    return json.dumps(_finite(value), allow_nan=False)


def csv_columns(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names in records, in the order in which they first occur."""
    return list(dict.fromkeys(name for record in records for name in record))


def csv_rows(columns: Sequence[str], records: Sequence[Mapping[str, Any]], *, header: bool = False) -> str:
    """Records as rows of CSV (RFC 4180, lines end in LF), with null and numbers that JSON lacks as empty cells."""
    text = io.StringIO()
    rows = csv.DictWriter(text, columns, lineterminator="\n")
    if header and columns:
        rows.writeheader()
    rows.writerows(_finite(record) for record in records)
    return text.getvalue()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
