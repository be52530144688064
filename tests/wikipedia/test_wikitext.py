"""Cleaning of wikitext: removed and kept parts, and the time for the worst sources."""

import time

import pytest

from rnncli.data.tokenizers import TOKENIZERS, hint_of_unspaced, wiki_words, wiki_words_and_ends
from rnncli.wikipedia.sentences import one_a_line
from rnncli.wikipedia.wikitext import clean


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("'''Bold''' and ''italic'' words.", "Bold and italic words."),
        ("A [[link]], [[Page|its text]], [[Page (x)|]]s.", "A link, its text, s."),
        ("''[[Iliad]]'''s end, the 1960''s", "Iliad's end, the 1960s"),
        ("See [http://example.org/a the site] or http://example.org/b now.", "See the site or now."),
        ("[http://example.org] Only that.", "Only that."),
        ("One<ref>note [[x]]</ref> two<ref name=a /> three<ref name=\"b\">{{cite|x}}</ref>.", "One two three."),
        ("<!-- hidden -->Shown <!-- {{ -->too.", "Shown too."),
        ("Before [[File:A.jpg|thumb|A [[linked]] caption [http://x y]]] after.", "Before after."),
        ("[[Image:A.jpg|[[File:B.jpg]]]]Text\n[[Category:Things|T]]\n[[fr:Chose]]", "Text"),
        ("At its end [[film:noir]]\n[[fr:Chose]] \n[[it:Cosa]]", "At its end film:noir"),
        ("About [[:Category:Things|things]].", "About things."),
        ("== Heading ==\nText.\n=== Other ===\n", "Text."),
        ("* item\n# number\n; term\n: said the king\n:* nested\n:: deeper", "said the king\ndeeper"),
        ("Start\n{| class=x\n|-\n| a || {{b|c}}\n{|\n| inner\n|}\n|}\nEnd", "Start\nEnd"),
        ("{{Infobox|a={{b|{{c}}}}|d=[[e]]}}Text {{unknown|gone}}stays.", "Text stays."),
        ("{{convert|5|km|mi}}, {{convert|5|to|8|km}}, {{cvt|1,000|m}}", "5 km, 5 to 8 km, 1,000 m"),
        ("{{lang|fr|[[Paris|la ville]]}} and {{lang-de|die Stadt}}", "la ville and die Stadt"),
        ("{{nowrap|ten {{nowrap|of ''them''}}}} {{small|1=[[a|b]]}}", "ten of them b"),
        ("{{frac|1|2}} {{as of|2015}} {{circa|1900}} {{abbr|Dr.|Doctor}}", "1/2 as of 2015 c. 1900 Dr."),
        ("{{start date|1969|7|20}} {{USS|Maine}} {{transl|ru|Moskva}}", "20 July 1969 USS Maine Moskva"),
        ("{{formatnum:77006}} {{formatnum:1,234|R}} {{uc:é}} {{lcfirst:A}} {{ucfirst:{{lc:AB}}}}", "77006 1234 É a Ab"),
        ("{{#if:x|yes|no}} {{#ifeq:a|b|yes|no}} {{plural:2|man|men}} {{padleft:7|3}} {{#expr:1}}.", "yes no men 007."),
        ("{{convert|5|ft|11|in|cm}}, {{convert|9|lb|3|oz|kg|0}}, {{cvt|-40|C|F|1}}", "5 ft 11 in, 9 lb 3 oz, -40 °C"),
        ("{{convert|10|x|20|x|3|m}}, {{convert|1|to|2|mi|km|0}}", "10 × 20 × 3 m, 1 to 2 mi"),
        ("{{US$|5 million}} {{GBP|3|link=yes}} {{currency|7|EUR}} {{currency|8|XYZ}}", "US$5 million £3 €7 XYZ 8"),
        ("{{val|1.5|e=30|u=kg}} {{val|2.5|0.3|u=m|up=s}} {{val|1|+2|-3}}", "1.5×10^30 kg 2.5±0.3 m/s 1 +2 −3"),
        ("{{circa|1850|1900}} {{floruit|1850|1900}} {{circa}}", "c. 1850 – c. 1900 fl. 1850–1900 c."),
        ("{{As of|2015|6|1}} {{as of|2015|6|1|df=US}}", "As of 1 June 2015 as of June 1, 2015"),
        ("{{As of|2015|lc=y|post=,}} {{as of|2015|since=y}} {{as of|2015|alt=then}}", "as of 2015, since 2015 then"),
        ("{{date|2010-05-03}} {{start date|2010|05|03}}", "3 May 2010 3 May 2010"),
        ("{{convert|5|-|8|km|mi}}, {{cvt|5|–|8|C}}", "5–8 km, 5–8 °C"),
        ("-{zh-hans:计算机;zh-hant:電腦}-的-{zh-tw:資訊; zh-cn:信息;}-", "计算机的信息"),
        ("-{不變}--{H|zh-cn:甲;zh-tw:乙}-x-{A|zh-tw:丁;zh-cn:丙}--{R|a:b}-", "不變x丙a:b"),
        ("{{lang|zh|-{zh-hans:门;zh-hant:門}-}} -{zh-hans:{{lang|ja|京}};zh-tw:x}-", "门 京"),
        ("-{sr-ec: реч; sr-el: reč}- -{zh-hant:x;zh-hans:[[甲|a;b]]-{乙}-}- -{zh-cn:y", "реч a;b乙 - zh-cn:y"),
        ("a{{ndash}}b{{nbsp}}c &nbsp;d &amp;nbsp;e &lt;f &eacute;", "a–b c d e <f é"),
        ("Name ({{IPA|x}}; {{lang|la|nomen}}) and ({{IPA|x}}) more.", "Name (nomen) and more."),
        ("x<sup>2</sup> <math>\\frac{a}{b}</math> <span style=\"a\">y</span><br />z", "x2 y\nz"),
        ("__NOTOC__Text <gallery>\nA.jpg|b\n</gallery>after <nowiki>[[x]]</nowiki>", "Text after x"),
        ("Never {{closed here\nNext line.", "Never\nNext line."),
        ("Stray }} and ]] and {{{1|x}}} and | bars.", "Stray and and and bars."),
        ("<ref>never closed\nNext.", "never closed\nNext."),
        ("{{quote|First line.\nSecond line.}}", "First line.\nSecond line."),
        ("", ""),
    ],
)  # fmt: skip
def test_wikitext_is_reduced_to_prose(source: str, text: str) -> None:
    assert [line.strip() for line in clean(source).splitlines()] == text.splitlines()


def test_file_and_category_names_of_other_languages_are_removed() -> None:
    source = "Vor [[Datei:Foo.jpg|mini|Ein [[Bild]] davon]]nach.\n[[Kategorie:Stadt]]\n[[datei:a.jpg]]"
    assert clean(source, ("Datei", "Kategorie")) == "Vor nach.\n"


N = 20_000
WORST = {
    "nested": "{{nowrap|" * N + "}}" * N,
    "opened": "{{nowrap|" * N,
    "opened lines": "{{nowrap|\n" * N,
    "arguments": "{{nowrap" + "|a" * N + "[[x]]}}",
    "tables": "\n{|" * N + "}}" * N,
    "tables in a template": "{{x|" + "\n{|" * N + "}}" * N,
    "files": "[[File:a [[b [c] " * N,
    "links": "[[a|b " * N,
    "languages": "[[aa:a]] " * N + "x",
    "references": "<ref><math>" * N,
    "comments": "<!--" * N,
    "brackets": "( " * N,
    "quotes": "'" * N,
    "spaces": " " * 5 * N,
    "numbers": "1." * N + "x",
    "addresses": "[http://" * N,
    "sentences": '. "' * N,
    "signs": "。؟ 」" * N,
    "variants": "-{" * N + "zh:a;" * N + "}-" + "-{a;" * N,
    "functions": "{{lc:" * N + "}}" * N,
}


@pytest.mark.parametrize("name", WORST)
def test_cleaning_time_is_linear(name: str) -> None:
    """With quadratic time, ten times this length would take minutes."""
    began = time.process_time()
    text = clean(WORST[name] + " " + "plain words " * 1000)
    wiki_words_and_ends(one_a_line(WORST[name] + text))
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("The U.S. king's well-known, 'quoted' words!", "the u.s. king 's well known quoted words"),
        ("It’s 1,234.5 km, i.e. 10,000,000 or 3.14; don't", "it 's 1234.5 km i.e. 10000000 or 3.14 don't"),
        ("J.R.R. Tolkien and/or O'Neil: rock'n'roll (1st) £5_6", "j.r.r. tolkien and or o'neil rock'n'roll 1st 5 6"),
        ("Cafe\u0301 naïve ΑΘΗΝΑ 東京", "café naïve αθηνα 東京"),
        ("İstanbul'un İZMİR İ", "istanbul'un izmir i"),
        ("हिन्दी भाषा, Андре́й और தமிழ்; ☀\ufe0f \u0301", "हिन्दी भाषा андре́й और தமிழ்"),
        ("می\u200cخواهم، کتاب\u200c و", "می\u200cخواهم کتاب و"),
        ("Col·lecció coŀlegi l'illa 2·3 ab·c", "col·lecció col·legi l'illa 2 3 ab c"),
        ('צה"ל וארה״ב ג\'ירפה ג׳ירפה "שלום" ד״ר', "צה״ל וארה״ב ג'ירפה ג'ירפה שלום ד״ר"),
        ("snake_case _x_ __", "snake case x"),
        ("…—!?", ""),
    ],
)
def test_words(line: str, words: str) -> None:
    assert TOKENIZERS["wiki-words"].split(line) == words.split()


def test_words_of_many_lines_match_single_lines() -> None:
    lines = ["First of all, it's.", "", "U.S.", "1,000 or 2.5", "'s"]
    expected = [word for line in lines for word in [*wiki_words(line), "\n"]]
    assert wiki_words_and_ends("\n".join(lines) + "\n") == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three? Four.", 4),
        ("Dr. Smith met J. R. Jones in the U.S. Army.", 1),
        ('He said "Go." Then he left. (She stayed.) Why?', 4),
        ("It is 3.5 m long, approx. 20 kg. élan", 1),
        ("At 5 p.m. it rained, e.g. Tuesday.", 1),
        ("J. Smith met K. Jones. Նա եկավ։ Նա գնաց։", 3),
        ("Éire is old. Österreich too. Ґанок був. Єва.", 4),
        ("Vino. ¿Qué hizo? Nada.", 3),
        ("ذهب الولد. هل رأيت القط؟ نعم رأيته (؟) في البيت! قال د. محمد.", 4),
        ("今天很好。我们走吧！他说：“好。”然后走了。", 4),
        ("यह घर है। वह आया॥ یہ گھر ہے۔ وہ آیا۔", 4),
        ("הלך לבית. חזר. 나는 간다. 너는 온다.", 4),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert len(one_a_line(text).split("\n")) == count
    assert "".join(one_a_line(text).split()) == "".join(text.split())


def test_scripts_without_blanks_get_a_hint() -> None:
    """A hint if most words are in Chinese, Japanese or Thai, but not for a few names."""
    for text in ("今天很好。 我们走吧！ ok", "東京は大きいまちです", "สวัสดีครับ วันนี้อากาศดีมากนะ"):
        assert "a model of characters fits better" in hint_of_unspaced(wiki_words(text))
    for text in ("A town named 東京 is large.", "나는 간다", "यह घर है", "今天 很 好 。"):
        assert hint_of_unspaced(wiki_words(text)) == ""
