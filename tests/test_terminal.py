"""Text for a terminal: control characters are escaped; piped text stays exact."""

import io
import sys

import pytest
from support.terminals import on_a_terminal

from rnncli import terminal

HOSTILE = "\x00\x07\x08\x1b\r\x0b\x7f\x80\x85\x9b\u2028\u202a\u202e\u2066\u2069\udc80"
SHOWN = r"\x00\x07\x08\x1b\r\x0b\x7f\x80\x85\x9b\u2028\u202a\u202e\u2066\u2069\udc80"


def test_only_control_characters_are_escaped() -> None:
    plain = "a\tb\n[bold]é שלום 👩‍👧 \\x1b"
    assert terminal.escaped(plain) == plain
    assert terminal.escaped(HOSTILE) == SHOWN
    assert terminal.escaped("a\tb\n", one_line=True) == r"a\tb\n"


def test_every_control_character_is_escaped() -> None:
    letters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    escaped = {letter for letter in letters if terminal.escaped(letter) != letter}
    bidi = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
    c0_del_c1 = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))} - {"\t", "\n"}
    assert escaped == bidi | c0_del_c1 | {"\u2028", "\u2029"}


def test_output_is_escaped_only_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with on_a_terminal() as screen:
        terminal.write_text(f"{HOSTILE}\n")
        terminal.write_message(f"two\nlines {HOSTILE}")
    assert screen.text == f"{SHOWN}\n" + rf"two\nlines {SHOWN}" + "\n"
    terminal.write_text("\x1b[31m\u202e")
    terminal.write_message("\x1b[31m")
    assert capsys.readouterr() == ("\x1b[31m\u202e", "\\x1b[31m\n")


def test_characters_outside_the_encoding_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, "latin-1"))
    terminal.write_text("é … \udc80", flush=True)
    assert data.getvalue() == b"\xe9 \\u2026 \\udc80"


def bar_over_seven() -> None:
    with terminal.progress_bar(7, "B", f"get {HOSTILE}", scaled=True) as bar:
        for _ in range(7):
            bar.update()


def test_a_progress_bar_is_escaped_and_needs_neither_terminal_nor_stream(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_a_terminal() as screen:
        bar_over_seven()
    assert rf"get {SHOWN}: 100%" in screen.text
    assert "7.00/7.00" in screen.text
    bar_over_seven()
    assert rf"get {SHOWN}: 100%" in capsys.readouterr().err
    with terminal.progress_bar(7, "B", delay=60.0, leave=False) as bar:
        bar.update()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", None)
    bar_over_seven()


def test_bar_is_a_widget_where_notebooks_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from tqdm import auto, std

    with terminal.progress_bar(1, "step", shown=False) as bar:
        assert type(bar) is std.tqdm
    monkeypatch.setitem(sys.modules, "ipykernel", sys)  # of Jupyter, which `auto` then looks at
    with terminal.progress_bar(1, "step", shown=False) as bar:
        assert type(bar) is auto.tqdm
