"""Every missing optional library is one line, which names an extra that installs it."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from rnncli.errors import RnnError
from rnncli.extras import installed, need

ROOT = Path(__file__).parents[1]


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert need("json", "json.decoder", what="--x", extra="y") is sys.modules["json"]
    assert installed("json", "json.decoder")
    monkeypatch.setitem(sys.modules, "json.decoder", None)
    assert not installed("json", "json.decoder")
    message = r"^--x needs json, which is not installed: pip install 'rnncli\[y\]', or z$"
    with pytest.raises(RnnError, match=message):
        need("json", "json.decoder", what="--x", extra="y", otherwise=", or z")


def test_extras_named_in_code_exist() -> None:
    """All except `dev`, `docs`, and `datasets`, which users import; lines may name extras of other packages."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "rnncli").rglob("*.py"))
    assert set(re.findall(r'extra="(\w+)"', code)) == set(extras) - {"dev", "docs", "datasets"}
