"""Scripts without blanks between words, and texts in them that have blanks."""

import pytest

from rnncli.data.scripts import lacks_blanks, letters_of


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("床前明月光，\n疑是地上霜。\n", True),
        ("床 前 明月 光 ，\n疑 是 地上 霜 。\n", False),
        ("古池や\n蛙飛びこむ\n水の音\n", True),
        ("ฉันไปโรงเรียน\nเมื่อวานนี้ฉันไปตลาด\n", True),
        ("ฉัน ไป โรงเรียน\nเมื่อวาน นี้ ฉัน ไป ตลาด\n", False),
        ("whose woods these are\n（林）\n", False),
        ("나는 어제 학교에 갔습니다\n", False),
        ("1 2 3\n", False),
    ],
)
def test_texts_without_blanks_are_detected(text: str, lacks: bool) -> None:
    assert lacks_blanks(text) is lacks


def test_letters_are_counted_by_script() -> None:
    assert letters_of("漢字カナかな 한글 ไทย abc é 12!") == (2, 4, 2, 3, 15)
