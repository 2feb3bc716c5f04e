"""The page of a report in a real browser: Debian's headless Chromium."""

import pytest

pytest.importorskip("rliable", reason="the extra [report] is not installed")
pytest.importorskip("selenium", reason="the extra [test] is not installed")

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from smallwm_tf.reporting.contents import gather  # noqa: E402
from smallwm_tf.reporting.writing import write_report  # noqa: E402
from tests.browser import needs_browser, open_browser  # noqa: E402
from tests.reporting.made_runs import make_pictures, make_run  # noqa: E402

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        browser.implicitly_wait(10)
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    nulls = {"uniform": [1.0, 2.0]}
    last = {"Alien": 400.0, "Pong": -3.0, "Boxing": 30.0, "<b>Catch": 1.0}
    for number, (game, score) in enumerate(last.items()):
        for seed in range(2):
            make_run(
                folder / "runs" / f"{number}-{seed}", game, seed, nulls=nulls,
                returns=[[score / 2, score], [score, score], [score, score + seed]],
            )  # fmt: skip
    make_run(folder / "runs" / "ppo", "Pong", preset="ppo_quick", config={"algorithm": "ppo"})
    make_pictures(folder / "runs" / "0-1", film=True)
    write_report(gather([folder / "runs"]), folder / "out")
    (folder / "out" / "report.html").rename(folder / "moved.html")  # it needs nothing beside it
    return folder / "moved.html"


@pytest.fixture(params=[1280, 360])
def page(request, browser, report):
    width = {"width": request.param, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", width)
    browser.get(report.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def games(page):
    rows = page.find_elements(By.TAG_NAME, "tbody")[1]  # after that of ppo_quick
    return [row.text.split()[0] for row in rows.find_elements(By.TAG_NAME, "tr")]


def header(page, text):
    headings = page.find_elements(By.TAG_NAME, "thead")[1].find_elements(By.TAG_NAME, "button")
    return next(heading for heading in headings if heading.text.split()[0] == text)


def test_a_click_on_a_heading_sorts(page):
    assert games(page) == ["<b>Catch", "Alien", "Boxing", "Pong"]
    header(page, "score").click()
    assert games(page) == ["Alien", "Boxing", "<b>Catch", "Pong"]
    header(page, "score").click()
    assert games(page) == ["Pong", "<b>Catch", "Boxing", "Alien"]
    # By value and not by text; the game without a human score stays last in both orders.
    header(page, "human-normalised").click()
    assert games(page) == ["Boxing", "Pong", "Alien", "<b>Catch"]
    header(page, "human-normalised").click()
    assert games(page) == ["Alien", "Pong", "Boxing", "<b>Catch"]
    header(page, "game").click()
    assert games(page) == ["<b>Catch", "Alien", "Boxing", "Pong"]
    header(page, "game").click()
    assert games(page)[0] == "Pong"
    assert len(page.find_elements(By.CSS_SELECTOR, "th[aria-sort]")) == 1


def test_pointing_at_a_curve_tells_the_value(page):
    figures = page.find_elements(By.CSS_SELECTOR, "#curves figure")
    assert len(figures) == 4
    tip = page.find_element(By.ID, "tip")
    assert not tip.is_displayed()
    points = figures[1].find_elements(By.CSS_SELECTOR, "circle.point")
    assert len(points) == 3
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", figures[1])
    ActionChains(page).move_to_element(points[-1]).perform()
    assert tip.text == "quick: 400.25 ± 0.25, 2 runs\n200 / 312 / 153 steps"
    box, width = tip.rect, page.execute_script("return document.documentElement.clientWidth")
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    ActionChains(page).move_to_element(figures[1].find_element(By.TAG_NAME, "figcaption")).perform()
    assert not tip.is_displayed()
    assert len(figures[3].find_elements(By.CSS_SELECTOR, "circle.point")) == 6  # with ppo_quick


def test_a_click_on_a_seed_opens_its_dream_strip_and_film(page):
    button = page.find_element(By.CSS_SELECTOR, "[data-run][title$='0-1']")
    page.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", button)
    button.click()
    dialog = page.find_element(By.CSS_SELECTOR, "dialog[open]")
    assert "Alien, quick, seed 1" in dialog.text and "dream_003.png" in dialog.text
    images = dialog.find_elements(By.TAG_NAME, "img")
    assert len(images) == 3  # dream, codes, film
    sizes = [page.execute_script("return arguments[0].naturalWidth", image) for image in images]
    assert sizes == [300, 300, 300]
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    assert not dialog.is_displayed()


def test_nothing_is_wider_than_the_window_and_nothing_comes_from_elsewhere(page):
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.execute_script(wide) == 0
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert all(name.startswith("data:") for name in page.execute_script(script))
    assert page.find_element(By.TAG_NAME, "h1").text == "Report"


def test_text_is_never_markup(report):
    text = report.read_text()
    assert "<b>Catch" not in text and "&lt;b&gt;Catch" in text and "\\u003cb\\u003eCatch" in text
