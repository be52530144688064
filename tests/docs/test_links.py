"""Links between pages: every file and every heading that a page names is there. Other sites are never visited."""

from pathlib import Path

import pytest
from support.markdown import PAGES, anchors, links, name_of

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    broken = []
    for line, target in links(page):
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if "://" in target:
            continue
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{name_of(page)}:{line}: {target}")
    assert broken == []


def test_most_pages_link_to_others() -> None:
    assert sum(any("://" not in target for _, target in links(page)) for page in PAGES) > len(PAGES) / 2
