"""Records as JSON: one object per line, for files and other programs."""

import json
import math
from collections.abc import Mapping
from typing import Any


def json_line(value: Any) -> str:
    """JSON on one line, with null for numbers that JSON lacks (infinity, nan)."""
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
