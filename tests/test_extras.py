"""Every optional library that is missing is one line, which names an extra of this package that brings it."""

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
    said = r"^--x needs json, which is not installed: pip install 'rnncli\[y\]', or z$"
    with pytest.raises(RnnError, match=said):
        need("json", "json.decoder", what="--x", extra="y", otherwise=", or z")


def test_the_extras_that_code_names_are_those_of_the_package() -> None:
    """All but `dev`; what names another package than this one is no extra of ours."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "rnncli").rglob("*.py"))
    assert set(re.findall(r'extra="(\w+)"', code)) == set(extras) - {"dev"}
