"""Pages in a real browser: every panel draws itself, clicks show more, nothing overflows, a text comes live."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from support.serving import served

import rnncli
from rnncli.analysis.live import live_page

pytestmark = pytest.mark.browser

DRAWN = {"curves": "polyline", "facts": "tr", "samples": "pre", "surprisal": "pre span", "horizon": "polyline"} | {
    "map": "circle",
    "units": "button",
    "confusion": "td",
    "attention": "td",
}
"""What must be in a panel of that kind."""

HOSTILE = "</script><script>document.title = 'broken'</script> <b>bold</b> & <!-- the gate\n"
SMALL = {
    "char-lm": "--hidden 8 --embedding 4 --epochs 1",
    "parity": "--epochs 1 --validate-every 0",
    "translate": "--corpus pairs.tsv --hidden 8 --embedding 8 --epochs 1 --tokens char",
}


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(each)
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def report(rnn, task: str, folder: Path, more: str = "") -> str:
    (folder / "pairs.tsv").write_text("".join(f"{n} and {n}\t{n}+{n}\n" for n in range(40)))
    words = SMALL[task].replace("pairs.tsv", str(folder / "pairs.tsv"))
    assert rnn(f"train {task} --name mine --seed 1 {words} {more}").code == 0
    assert rnn(f"report mine --out {folder}/page.html").code == 0
    return (folder / "page.html").as_uri()


@pytest.mark.parametrize("task", SMALL)
def test_every_panel_draws_itself(task: str, rnn, tmp_path: Path, browser) -> None:
    browser.get(report(rnn, task, tmp_path))
    sections = browser.find_elements(By.TAG_NAME, "section")
    kinds = {section.get_attribute("data-kind") for section in sections}
    wanted = {
        "char-lm": {"samples", "surprisal", "map", "units", "horizon"},
        "parity": {"confusion", "units", "horizon"},
        "translate": {"samples", "attention"},
    }
    assert kinds == wanted[task] | {"curves", "facts"}
    for section in sections:
        assert section.find_elements(By.CSS_SELECTOR, DRAWN[section.get_attribute("data-kind")])
    assert browser.get_log("browser") == []


def colours_of(browser: webdriver.Chrome) -> list[str | None]:
    spans = browser.find_elements(By.CSS_SELECTOR, "[data-kind=units] .text span")
    return [span.get_attribute("style") for span in spans[:200]]


@pytest.mark.parametrize("verb", ["report", "activations"])
def test_a_click_changes_the_unit_shown(verb: str, rnn, tmp_path: Path, browser) -> None:
    place = report(rnn, "parity", tmp_path)
    if verb == "activations":
        assert rnn(f"activations mine --html {tmp_path}/page.html").code == 0
    browser.get(place)
    assert browser.title == f"parity, mine – rnn {verb}"
    buttons = browser.find_elements(By.CSS_SELECTOR, "section[data-kind=units] button")
    colours = [colours_of(browser)]
    buttons[1].click()
    colours.append(colours_of(browser))
    assert colours[0] != colours[1]
    assert [each.get_attribute("aria-pressed") for each in buttons[:2]] == ["false", "true"]
    name = buttons[1].find_element(By.TAG_NAME, "b").text
    assert browser.find_element(By.CSS_SELECTOR, ".shown").text.startswith(f"unit {name}")


def test_text_is_never_markup_and_nothing_overflows(rnn, tmp_path: Path, browser) -> None:
    (tmp_path / "hostile.txt").write_text(HOSTILE * 60)
    place = report(rnn, "char-lm", tmp_path, f"--corpus {tmp_path}/hostile.txt")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get(place)
    assert browser.title == "char-lm, mine – rnn report"
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2
    shown = browser.find_element(By.CSS_SELECTOR, "[data-kind=units] .text").get_attribute("textContent")
    assert "</script><script>document.title = 'broken'</script> <b>bold</b> & <!-- the gate" in shown
    assert browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]") == [400, 400]
    assert browser.get_log("browser") == []


def test_no_word_on_the_map_covers_another(rnn, tmp_path: Path, browser) -> None:
    place = report(rnn, "char-lm", tmp_path)
    for width in (1100, 400):
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**PHONE, "width": width})
        browser.get(place)
        names = [each.rect for each in browser.find_elements(By.CSS_SELECTOR, "[data-kind=map] text")]
        assert len(names) > 20
        for number, one in enumerate(names):
            for other in names[:number]:
                distance = [abs(one[axis] - other[axis]) for axis in ("x", "y")]
                first = [min(one, other, key=lambda each: each[axis]) for axis in ("x", "y")]
                assert distance[0] >= first[0]["width"] - 1 or distance[1] >= first[1]["height"] - 1


def test_dark_where_that_is_preferred(rnn, tmp_path: Path, browser) -> None:
    place = report(rnn, "parity", tmp_path)
    for scheme, dark in (("light", False), ("dark", True)):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(place)
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)")
        assert (sum(map(int, ground)) < 150) == dark


def test_a_text_comes_token_by_token_with_what_else_was_likely(rnn, browser) -> None:
    assert rnn(f"train char-lm --name mine --seed 1 {SMALL['char-lm']} --corpus hillside").code == 0
    trained = rnncli.load("mine")
    with served(trained, live_page(trained)) as port:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        browser.get(f"http://127.0.0.1:{port}/")
        assert browser.title == "char-lm, mine – rnn serve"
        for name, value in (("length", "60"), ("seed", "3"), ("prime", "the gate")):
            box = browser.find_element(By.ID, f"ask-{name}")
            box.clear()
            box.send_keys(value)
        box.send_keys(Keys.ENTER)
        WebDriverWait(browser, 30).until(lambda _: "60 tokens, seed 3" in shown(browser, ".hint"))
        tokens = browser.find_elements(By.CSS_SELECTOR, "[data-kind=write] .token")
        written = trained.generate(prime="the gate", length=60, seed=3).texts[0].removeprefix("the gate")
        assert "".join(each.get_attribute("textContent") for each in tokens) == written.replace("\n", "↵")
        tokens[0].click()
        chosen = shown(browser, ".likely")
        assert chosen.startswith(f"“{written[0].strip() or '␣'}” was drawn with")
        assert len(browser.find_elements(By.CSS_SELECTOR, ".likely tr")) == 5
        browser.find_element(By.CSS_SELECTOR, ".written").send_keys(Keys.ARROW_RIGHT)
        assert "chosen" in tokens[1].get_attribute("class")
        assert browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]") == [400, 400]
        browser.find_element(By.ID, "ask-length").send_keys("0000", Keys.ENTER)
        assert "60 tokens" in shown(browser, ".hint")  # the browser itself knows the limits
        assert browser.get_log("browser") == []
    browser.find_element(By.ID, "ask-length").send_keys(Keys.BACKSPACE * 4, Keys.ENTER)
    WebDriverWait(browser, 30).until(lambda _: "the server does not answer" in shown(browser, ".hint"))


def shown(browser: webdriver.Chrome, what: str) -> str:
    """The text of a part of the panel to write on."""
    return str(browser.find_element(By.CSS_SELECTOR, f"[data-kind=write] {what}").text)


PHONE = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
