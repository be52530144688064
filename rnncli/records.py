"""Records as JSON: one object a line, for files and for other programs."""

import json
import math
from collections.abc import Mapping
from typing import Any


def json_line(value: Any) -> str:
    """JSON on one line, with null for the numbers that JSON lacks (infinity, nan)."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
