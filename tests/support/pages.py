"""The data of a page of HTML."""

import json
import re
from pathlib import Path


def data_of(file: Path) -> dict:
    """The data that the page's script draws."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', file.read_text("utf-8"), re.S)
    return json.loads(text)
