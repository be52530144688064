"""Dumps in every form, intact and damaged, against bz2 and xml.etree."""

import bz2
import random
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.dumps import FOOTER, HEADER, Page, cut_streams, dump_xml, multistream

from rnncli.errors import RnnError, UsageError
from rnncli.wikipedia import bzip2, dump, pages, texts
from rnncli.wikipedia.dump import Report, find_dump_files, units

PAGES = [
    Page("Alpha", "Alpha is the '''first''' letter & a word: \"alpha\" < beta."),
    Page("Old", "#REDIRECT [[Alpha]]", redirect=True),
    Page("Talk:Alpha", "Chatter.", namespace=1),
    Page("Beta & gamma", "Beta <ref>x</ref> is second.\n\nÄ second paragraph — with [[Alpha|a link]]."),
    Page("Older", "#redirect [[Alpha]]"),
    Page("Empty", ""),
    *(Page(f"Page {number}", f"Text number {number}. " * (number % 7 + 1)) for number in range(30)),
]


def read(path: Path) -> tuple[list[tuple[str, str, str]], list[Report]]:
    """All articles of a file, and the reports of its units."""
    found, reports = [], []
    for unit in units(find_dump_files([str(path)])[0]):
        reports.append(Report())
        found += [tuple(article) for article in pages.articles(unit, reports[-1])]
    return found, reports


def parsed(xml: str) -> list[tuple[str, str]]:
    """Ids and titles of the articles, by a full XML parser."""
    space = re.search('xmlns="([^"]+)"', xml)[1]
    found = []
    for page in ElementTree.fromstring(xml).iter(f"{{{space}}}page"):
        text = page.findtext(f"{{{space}}}revision/{{{space}}}text") or ""
        redirect = page.find(f"{{{space}}}redirect") is not None or text.lower().startswith("#redirect")
        if page.findtext(f"{{{space}}}ns") == "0" and not redirect:
            found.append((page.findtext(f"{{{space}}}id"), page.findtext(f"{{{space}}}title")))
    return found


FORMS: dict[str, Callable[[], bytes]] = {
    "plain": lambda: dump_xml(PAGES).encode(),
    "one stream": lambda: bz2.compress(dump_xml(PAGES).encode()),
    "multistream": lambda: multistream(PAGES),
    "streams of 100 bytes": lambda: cut_streams(dump_xml(PAGES), 100),
    "streams of 777 bytes": lambda: cut_streams(dump_xml(PAGES), 777),
    "with empty streams": lambda: (
        bz2.compress(b"") + multistream(PAGES).replace(b"BZh9", bz2.compress(b"") + b"BZh9", 5)
    ),
    "two dumps": lambda: multistream(PAGES[:4]) + multistream(PAGES[4:]),
}


@pytest.fixture(params=[1 << 30, 1000, 60])
def small_units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of whole files, of a few pages, and of less than one."""
    monkeypatch.setattr(dump, "UNIT", request.param)
    monkeypatch.setattr(bzip2, "STRETCH", request.param)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_every_article_once(form: str, tmp_path: Path, small_units: None) -> None:
    path = tmp_path / "dump"
    path.write_bytes(FORMS[form]())
    found, reports = read(path)
    whole = (bz2.decompress(path.read_bytes()) if form != "plain" else path.read_bytes()).decode()
    parts = [HEADER + part.split("</siteinfo>\n")[1] + FOOTER for part in whole.split(FOOTER)[:-1]]
    assert [(number, title) for number, title, _ in found] == [each for part in parts for each in parsed(part)]
    assert not any(report.first_loss for report in reports)
    texts = {title: text for _, title, text in found}
    assert texts["Alpha"] == 'Alpha is the first letter & a word: "alpha" < beta.'
    if "Beta & gamma" in texts:
        assert texts["Beta & gamma"] == "Beta is second.\nÄ second paragraph — with a link."
        assert sum(report.redirects for report in reports) == 2
        assert sum(report.others for report in reports) == 1
        assert texts["Empty"] == ""


def test_a_long_stream_is_decoded_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bzip2, "MAX_STREAM", 300)
    monkeypatch.setattr(bzip2, "STRETCH", 100)
    monkeypatch.setattr(bzip2, "CHUNK", 500)
    monkeypatch.setattr(dump, "UNIT", 1000)
    path = tmp_path / "dump.bz2"
    rest = dump_xml(PAGES).removeprefix(HEADER)
    for data in (bz2.compress((HEADER + rest).encode()), bz2.compress(HEADER.encode()) + bz2.compress(rest.encode())):
        path.write_bytes(data)
        found, reports = read(path)
        assert [(number, title) for number, title, _ in found] == parsed(dump_xml(PAGES))
        assert len(reports) > 3
        assert not any(report.first_loss for report in reports)


def test_stretches_begin_where_streams_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bzip2, "STRETCH", 700)
    path = tmp_path / "dump.bz2"
    path.write_bytes(multistream(PAGES))
    ranges = list(bzip2.stretches(path))
    assert len(ranges) > 2
    assert [begin for begin, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    data = path.read_bytes()
    assert "".join(bz2.decompress(data[begin:end]).decode() for begin, end in ranges) == dump_xml(PAGES)


@pytest.mark.parametrize("form", ["plain", "one stream", "multistream", "streams of 777 bytes"])
def test_every_truncation_is_detected(form: str, tmp_path: Path) -> None:
    """Wherever the file is cut, the loss is reported, and the articles are right."""
    data, path = FORMS[form](), tmp_path / "dump"
    expected = {title: text for _, title, text in read_bytes(data, path)[0]}
    for size in random.Random(1).sample(range(300, len(data) - len(FOOTER)), 60):
        found, reports = read_bytes(data[:size], path)
        assert any(report.first_loss for report in reports), size
        assert {title: expected[title] for _, title, _ in found} == {title: text for _, title, text in found}


@pytest.mark.parametrize("form", ["plain", "one stream", "multistream"])
def test_every_flipped_bit_is_detected(form: str, tmp_path: Path) -> None:
    """Every bit of the text counts; in the rest of the XML, each article is right or reported as lost."""
    data, path = FORMS[form](), tmp_path / "dump"
    expected = {text for _, _, text in read_bytes(data, path)[0]}
    generator = random.Random(2)
    for _ in range(60):
        place = generator.randrange(300, len(data))
        damaged = bytearray(data)
        damaged[place] ^= 1 << generator.randrange(8)
        found, reports = read_bytes(bytes(damaged), path)
        assert {text for _, _, text in found} <= expected
        if len(found) < len(expected):
            lost = sum(report.lost_pages + report.lost_bytes for report in reports)
            skipped = sum(report.redirects + report.others for report in reports)
            assert lost or skipped != 3, place


def read_bytes(data: bytes, path: Path) -> tuple[list[tuple[str, str, str]], list[Report]]:
    path.write_bytes(data)
    return read(path)


def test_a_damaged_stream_costs_its_own_pages_only(tmp_path: Path) -> None:
    data, path = bytearray(multistream(PAGES, 6)), tmp_path / "dump.bz2"
    starts = [found.start() for found in re.finditer(b"BZh91AY&SY", bytes(data))]
    data[starts[3] + 60] ^= 1
    found, (report,) = read_bytes(bytes(data), path)
    titles = [title for _, title, _ in found]
    assert titles == [title for _, title in parsed(dump_xml(PAGES))][: 3 + 6] + [f"Page {n}" for n in range(12, 30)]
    assert report.lost_bytes == starts[4] - starts[3]
    assert report.first_loss == f"byte {starts[3]:,}: damaged bz2 data"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("<page>\n    <title>Page 7", "<pbge>\n    <title>Page 7", "unexpected data after page 'Page 6'"),
        ("</page>\n  <page>\n    <title>Page 8", "<page>\n    <title>Page 8", "no end after page 'Page 6'"),
        ("<title>Page 7<", "<tile>Page 7<", "its parts are damaged after page 'Page 6'"),
        ("Text number 7.", "Text nunber 7.", "page 'Page 7': its text is damaged"),
        ("Text number 7.", "Text \x01number 7.", "page 'Page 7': its text is damaged"),
    ],
)  # fmt: skip
def test_damaged_pages_are_named(old: str, new: str, what: str, tmp_path: Path) -> None:
    xml = dump_xml(PAGES)
    assert old in xml
    found, (report,) = read_bytes(xml.replace(old, new, 1).encode(), tmp_path / "dump.xml")
    assert "Page 7" not in [title for _, title, _ in found]
    assert len(found) == len(parsed(xml)) - 1
    assert (report.lost_pages, report.first_loss) == (1, what)


@pytest.mark.parametrize("form", ["plain", "one stream", "multistream", "streams of 777 bytes"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<page>\n    <title>Alpha<", "<pagd>\n    <title>Alpha<"),  # after the header
        ("<page>\n    <title>Page 29<", "<pagd>\n    <title>Page 29<"),  # before the footer
        (FOOTER, "<p>words</p>\n" + FOOTER),
    ],
)  # fmt: skip
def test_no_page_is_lost_at_either_end(form: str, old: str, new: str, tmp_path: Path) -> None:
    xml = dump_xml(PAGES)
    assert old in xml
    damaged = xml.replace(old, new).encode()
    if form == "multistream":
        damaged = bz2.compress(damaged[:300]) + bz2.compress(damaged[300:-900]) + bz2.compress(damaged[-900:])
    elif form != "plain":
        damaged = bz2.compress(damaged) if form == "one stream" else cut_streams(damaged.decode(), 777)
    _, (report,) = read_bytes(damaged, tmp_path / "dump")
    assert report.lost_pages == 1
    assert report.first_loss.startswith("unexpected data after page ")


def test_control_characters_and_bad_bytes_without_a_checksum(tmp_path: Path) -> None:
    pages_ = [Page("Good", "Fine.", sha1=False), Page("Bad", "With a \x02.", sha1=False), Page("Ugly", "Ä", sha1=False)]
    data = dump_xml(pages_).encode().replace("Ä".encode(), b"\xc4")
    found, (report,) = read_bytes(data, tmp_path / "dump.xml")
    assert [title for _, title, _ in found] == ["Good"]
    assert report.lost_pages == 2
    assert report.first_loss == "page 'Bad': its text is damaged"


@pytest.mark.parametrize("compress", [bytes, bz2.compress])
def test_the_namespaces_are_those_of_the_dump(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    xml = dump_xml([Page("Rom", "Rom [[Datei:Rom.jpg|[[Forum]]]]und [[Diskussion:Rom]]\n[[Kategorie:Stadt]]")])
    names = {6: "Datei", 14: "Kategorie", 1: "Diskussion"}
    listed = "".join(f'<namespace key="{key}" case="first-letter">{name}</namespace>' for key, name in names.items())
    xml = xml.replace("</siteinfo>", f"<namespaces>{listed}</namespaces></siteinfo>")
    found, (report,) = read_bytes(compress(xml.encode()), tmp_path / "dump")
    assert found == [("1", "Rom", "Rom und Diskussion:Rom\n")]
    assert not report.first_loss


def test_the_last_of_many_revisions_counts(tmp_path: Path) -> None:
    xml = dump_xml([Page("Alpha", "New.", sha1=False)])
    old = "<revision>\n      <id>1</id>\n      <text>Old.</text>\n    </revision>\n    "
    found, (report,) = read_bytes(xml.replace("<revision>", old + "<revision>").encode(), tmp_path / "dump.xml")
    assert found == [("1", "Alpha", "New.")]
    assert not report.first_loss


BOMB = '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>\n<mediawiki>&b;</mediawiki>'


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<!DOCTYPE html>\n<html><body>503 Service Unavailable</body></html>", "is a web page, not a dump"),
        (b"\n<HTML lang=en>", "is a web page, not a dump"),
        (BOMB.encode(), "declares a DOCTYPE or entities"),
        (b"<?xml version='1.0'?><rss></rss>", "is XML, but not a dump"),
        (b"\x1f\x8b\x08\x00", "is a gzip file"),
        (b"\xfd7zXZ\x00", "is an xz file"),
        (b"PK\x03\x04rest", "is a zip archive"),
        (b"\xff\xfea\0b\0", "is UTF-16 text"),
        (b"ab\0cd", "is a binary file"),
        (b"", "is empty"),
        (bz2.compress(b"only a text"), "is not a dump of a wiki"),
        (bz2.compress(b"<html>no</html>"), "is a web page"),
    ],
)
def test_files_that_are_not_dumps_are_refused(data: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(data)
    with pytest.raises(RnnError, match=f"^{re.escape(str(path))} {what}"):
        find_dump_files([str(path)])


def test_files_in_a_folder_that_are_not_texts_are_skipped(tmp_path: Path) -> None:
    out, half = tmp_path / "out", tmp_path / "texts/x.part"
    for folder in (out, half):
        folder.mkdir(parents=True)
        (folder / "made.txt").write_text("Made.\n")
    (tmp_path / "texts/empty.txt").touch()
    (tmp_path / "texts/full.txt").write_text("Text.\n")
    assert [source.path.name for source in find_dump_files([str(tmp_path)], exclude=[out])] == ["full.txt"]
    with pytest.raises(UsageError, match="no file to read lies in or below"):
        find_dump_files([str(out)], exclude=[out])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ('{"id": 1, "text": "x"}\n', "json"),
        ('{ "text": "' + "x" * 100_000 + '"}\n', "json"),
        ("{braces} begin this text\n", "text"),
        ("[[A title]]\n\nText.\n", "wp2txt"),
        ("[[A title]]\r\n\r\nText.\r\n", "wp2txt"),
        ("[[A link]]\nText.\n", "text"),
        ("[[A|link]]\n\nText.\n", "text"),
        ("[[File:A.jpg]]\n\nText.\n", "text"),
    ],
)
def test_kinds_of_texts_are_detected(head: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(head.encode())
    assert find_dump_files([str(path)])[0].kind == kind


def test_long_line_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At line feeds if there are any, then at blanks, then anywhere except inside a letter."""
    monkeypatch.setattr(dump, "UNIT", 100)
    monkeypatch.setattr(dump, "_MAX_LINE", 50)
    text = "Eine Zeile mit Wörtern.\n" * 20 + "und lange mehr " * 100 + "ä" * 1000 + "\nEnde"
    path = tmp_path / "text"
    path.write_text(text, "utf-8")
    parts = [unit.read() for unit in units(find_dump_files([str(path)])[0])]
    assert b"".join(parts).decode() == text
    assert max(map(len, parts)) <= 150
    assert [part.decode()[-1] for part in parts[:3]] == ["\n"] * 3
    assert " " in {part.decode()[-1] for part in parts}
    assert parts[-1].endswith(b"Ende")


ENDLESS = {
    "xml": (HEADER + Page("Alpha", "Alpha.").xml(1) + "<page><title>", "ä page"),
    "doc": ('<doc id="1" title="Alpha">\nAlpha\nIt is.\n</doc>\n<doc id="2" title="Beta">\n', "ä word\n"),
    "json": ('{"title": "Alpha", "text": "It is."}\n{"title": "Beta", "text": "', "ä word "),
    "wp2txt": ("[[Alpha]]\n\nIt is.\n\n[[Beta]]\n\n", "ä word\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_data_is_read_in_parts_and_reported(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a file may be larger than the memory."""
    for name, size in {"UNIT": 500, "MAX_PAGE": 5_000, "_HEAD_SIZE": 1_000}.items():
        monkeypatch.setattr(dump, name, size)
    beginning, more = ENDLESS[kind]
    (tmp_path / "endless").write_text(beginning + more * 10_000, encoding="utf-8")
    source = find_dump_files([str(tmp_path / "endless")])[0]
    assert source.kind == kind
    parts = list(units(source))
    assert [part.end for part in parts] == [*(part.begin for part in parts[1:]), source.size]
    assert max(part.end - part.begin for part in parts) < 500 + 5_000 + 2 * 1_000
    reports, titles = [], []
    for part in parts:
        reports.append(Report())
        articles = pages.articles if kind == "xml" else texts.articles
        titles += [article.title for article in articles(part, reports[-1])]
    assert titles[0] == "Alpha"
    assert all(report.lost_pages == 1 and "UTF-8" not in report.first_loss for report in reports[1:])


def test_sources_are_files_and_folders_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/wiki_01", "b/wiki_00", "a.txt", "b/.hidden"):
        (tmp_path / name).write_text("Text.\n")
    names = [str(tmp_path / "b"), str(tmp_path / "a.txt")]
    assert [source.path.name for source in find_dump_files(names)] == ["wiki_00", "wiki_01", "a.txt"]
    assert len(find_dump_files(names, 1)) == 1
    with pytest.raises(UsageError, match="is neither a file nor a folder"):
        find_dump_files([str(tmp_path / "none")])
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match="no file to read lies in or below"):
        find_dump_files([str(tmp_path / "bare")])
