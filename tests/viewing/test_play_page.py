"""The page in a real browser: Debian's headless Chromium."""

import logging
import threading

import pytest

pytest.importorskip("flask", reason="the extra [play] is not installed")
pytest.importorskip("selenium", reason="the extra [test] is not installed")

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

from smallwm_tf.viewing.server import make_app  # noqa: E402
from tests.browser import needs_browser, open_browser  # noqa: E402

pytestmark = needs_browser


class Page:
    """What the tests do with the page."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, identifier):
        return self.browser.find_element(By.ID, identifier)

    def press(self, *keys):
        ActionChains(self.browser).send_keys(*keys).perform()

    def wait(self, condition, what):
        WebDriverWait(self.browser, 30, poll_frequency=0.05).until(lambda _: condition(), what)

    def wait_for_step(self, step):
        self.wait(lambda: self.find("place").text.endswith(f"step {step}"), f"step {step}")

    def state(self, name):
        return self.browser.execute_script(f"return {name}")

    def is_pressed(self, identifier):
        return self.find(identifier).get_attribute("aria-pressed") == "true"


@pytest.fixture(scope="module")
def browser():
    with open_browser("--window-size=1000,800") as browser:
        yield browser


@pytest.fixture(scope="module")
def address(shared_session):
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, make_app(shared_session), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(session, browser, address):
    browser.get(address)
    page = Page(browser)
    page.wait_for_step(0)
    yield page
    assert browser.get_log("browser") == []  # neither errors nor anything that the policy stopped


def test_keys_act_and_the_frame_changes(page):
    assert page.find("title").text == "Dream of Catch"
    frame = page.find("dream-frame").get_attribute("src")
    assert frame.startswith("data:image/png;base64,")
    assert page.state("document.getElementById('dream-frame').naturalWidth") == 96
    for step, (key, action) in enumerate(
        [(Keys.ARROW_LEFT, 1), (Keys.ARROW_RIGHT, 2), ("0", 0)], 1
    ):
        page.press(key)
        page.wait_for_step(step)
        assert page.state("view.last_action") == action
        assert "last" in page.find(f"action-{action}").get_attribute("class")
    assert page.find("dream-frame").get_attribute("src") != frame
    assert page.find("reward-sum").text == page.state("signed(view.reward.sum, 0)")
    assert page.find("entropy-mean").text.endswith("nats")
    page.find("action-1").click()
    page.wait_for_step(4)
    page.press("s")
    page.wait_for_step(0)
    assert page.find("dream-frame").get_attribute("src") == frame
    page.press("r")
    page.wait(lambda: page.find("place").text.startswith("start 2 "), "the next start")


def test_keys_that_are_held_together_are_one_action(page):
    names = ["NOOP", "FIRE", "UP", "RIGHT", "UPRIGHT", "UPRIGHTFIRE", "LEFTFIRE"]
    script = """
        const [names, keys] = arguments;
        view = { ...view, actions: names };
        held.clear();
        keys.forEach((key) => held.add(KEYS[key]));
        const found = heldAction();
        held.clear();
        return found === null ? null : names[found];
    """
    cases = {
        ("ArrowUp",): "UP",
        ("ArrowUp", "ArrowRight"): "UPRIGHT",
        (" ", "ArrowRight", "ArrowUp"): "UPRIGHTFIRE",
        ("ArrowLeft", " "): "LEFTFIRE",
        ("ArrowRight", " "): "RIGHT",
        (" ",): "FIRE",
        ("ArrowDown",): None,
    }
    for keys, name in cases.items():
        assert page.browser.execute_script(script, names, list(keys)) == name


def test_clicking_a_square_overwrites_its_code(page):
    square = page.find("code-2-4")
    index = (int(square.get_attribute("data-code")) + 5) % 24
    frame = page.find("dream-frame").get_attribute("src")
    page.find("palette").find_elements(By.TAG_NAME, "button")[index].click()
    assert page.find("brush").get_attribute("value") == str(index)
    square.click()
    page.wait(lambda: square.get_attribute("data-code") == str(index), "the code")
    assert square.text == str(index)
    assert "overwritten" in square.get_attribute("class")
    assert page.find("dream-frame").get_attribute("src") != frame
    assert page.state("view.overwritten") == [[2, 4]]
    page.press("1")
    page.wait_for_step(1)
    assert "overwritten" not in square.get_attribute("class")
    page.press("e")
    assert page.find("show-entropy").is_selected()
    assert float(square.text) == pytest.approx(page.state("view.entropies[2][4]"), abs=0.006)


def test_the_real_game_appears_beside_the_dream(page):
    assert not page.find("real-frame").is_displayed()
    page.press("m")
    page.wait(lambda: page.find("real-frame").is_displayed(), "the real game")
    assert page.is_pressed("mode-beside")
    assert page.find("agreement-now").text == "100 %"
    real = page.find("real-frame").get_attribute("src")
    page.press(Keys.ARROW_LEFT)
    page.wait_for_step(1)
    assert page.find("real-frame").get_attribute("src") != real
    assert page.find("difference").get_attribute("src").startswith("data:image/png")
    assert page.find("parted").text == "parted at step 1"  # an untrained dream
    page.find("mode-dream").click()
    page.wait(lambda: not page.find("real-frame").is_displayed(), "the dream alone")


def test_the_agent_plays_until_it_is_stopped(page):
    page.press("a")
    assert page.is_pressed("play-agent")
    page.wait(lambda: page.state("view.step") >= 3, "three steps")
    page.press("a")
    assert page.is_pressed("play-steps")
    page.wait(lambda: page.state("waiting") == 0, "the last answer")
    step = page.state("view.step")
    page.press("2")
    page.wait_for_step(step + 1)


def test_time_runs_when_it_is_played_live(page):
    page.find("play-live").click()
    page.wait(lambda: page.state("view.step") >= 2, "two steps")
    assert page.state("view.last_action") == 0  # STAY: no key is held
    page.find("play-steps").click()
