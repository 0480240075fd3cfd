"""The page of `visionkit serve` in a real browser: pictures, thresholds, camera, keys, a phone's width."""

import base64
import io
import json
import time

import pytest
from PIL import Image

from tests.apps.chromium import Chromium
from tests.apps.serving import TOKEN, Serving, opened
from visionkit.apps.sources import demo_picture
from visionkit.io.image import read_image

FAKE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


@pytest.fixture(scope="module")
def portrait():
    """The file of a person, 256 x 300."""
    buffer = io.BytesIO()
    with Image.open(demo_picture()) as image:
        image.resize((256, 300)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def served(pose_weights):
    """A detector that knows people, and a network that has learned nothing but sees many."""
    with Serving({"boxes": opened("yolo-nano-person"), "poses": opened(pose_weights)}) as serving:
        yield serving


@pytest.fixture(scope="module")
def browser(tmp_path_factory, portrait):
    """A browser whose camera shows the portrait, becoming darker and brighter."""
    folder = tmp_path_factory.mktemp("chromium")
    frames = []
    for number in range(10):
        buffer = io.BytesIO()
        light = 256 - 8 * min(number, 10 - number)
        Image.fromarray((read_image(portrait) * (light / 256)).astype("uint8")).save(buffer, "JPEG")
        frames.append(buffer.getvalue())
    film = folder / "film.mjpeg"
    film.write_bytes(b"".join(frames))
    with Chromium(folder / "profile", *FAKE, f"--use-file-for-fake-video-capture={film}") as chromium:
        yield chromium


@pytest.fixture
def page(browser, served):
    """The page, freshly opened; at the end it must have broken no rule."""
    browser.console.clear()
    browser.window(1280, 800)
    browser.open(f"{served.origin}/{TOKEN}/")
    browser.until("document.querySelector('#model').options.length === 2")
    yield browser
    wrong = [line for line in browser.console if "422" not in line]
    assert not wrong


def text(page, what):
    return page.js(f"document.querySelector('{what}').textContent")


def pixels(page, folder):
    """The canvas as an array."""
    coded = page.js("document.querySelector('#canvas').toDataURL().split(',')[1]")
    path = folder / "canvas.png"
    path.write_bytes(base64.b64decode(coded))
    return read_image(path)


def choose(page, model):
    page.js(f"(m => {{ m.value = '{model}'; m.onchange(); }})(document.querySelector('#model'))")


def give(page, folder, data, name="portrait.png"):
    (folder / name).write_bytes(data)
    page.give("#file", folder / name)
    page.until("!document.querySelector('#save').disabled")


@pytest.mark.parametrize("model", ["boxes", "poses"])
def test_a_picture(page, served, tmp_path, portrait, model):
    """The canvas shows it and, in the model's colours, what the server found."""
    choose(page, model)
    give(page, tmp_path, portrait)
    found = served.find(portrait, f"?model={model}&confidence=0.05").json
    sure = sum(one >= 0.2 for one in found["confidence"]) if model == "poses" else 1
    assert text(page, "#summary") == (f"{sure} poses" if model == "poses" else "1 person")
    assert text(page, "#size") == "256 × 300"
    assert text(page, "#find").endswith(" ms")
    drawn, given = pixels(page, tmp_path), read_image(portrait)
    assert drawn.shape == given.shape
    changed = (drawn != given).any(axis=2)
    assert 0.001 < changed.mean() < 0.999
    colours = {
        tuple(c)
        for one in served.ask("GET", "/models").json["models"]
        for c in one["colours"]
        if one["name"] == model
    }
    assert colours & {tuple(c) for c in drawn[changed].tolist()}


def test_the_threshold_acts_at_once(page, tmp_path, portrait):
    """Without asking the server again, down to nothing at all: then the picture is bare."""
    give(page, tmp_path, portrait)
    asked = "performance.getEntriesByType('resource').filter(e => e.name.includes('find')).length"
    before = page.js(asked)
    page.js("(s => { s.value = 0.95; s.oninput(); })(document.querySelector('#least'))")
    assert text(page, "#summary") == "Nothing found"
    assert text(page, "#shown") == "0.95"
    assert page.js(asked) == before
    assert (pixels(page, tmp_path) == read_image(portrait)).all()


def test_bad_pictures_get_their_reason(page, tmp_path, portrait):
    """As text, whatever is in it."""
    (tmp_path / "bad.png").write_bytes(b"<script>alert(1)</script>")
    page.give("#file", tmp_path / "bad.png")
    page.until("document.querySelector('#summary').classList.contains('bad')")
    assert "HTML" in text(page, "#summary")
    assert page.js("document.querySelector('#save').disabled")
    give(page, tmp_path, portrait)
    assert not page.js("document.querySelector('#summary').classList.contains('bad')")


def test_a_picture_that_only_the_server_can_read(page, tmp_path, portrait):
    buffer = io.BytesIO()
    Image.fromarray(read_image(portrait)).save(buffer, "TIFF")
    give(page, tmp_path, buffer.getvalue(), "portrait.tif")
    assert text(page, "#size") == "256 × 300"
    assert pixels(page, tmp_path).shape == (300, 256, 3)


def test_json_is_saved(page, served, tmp_path, portrait):
    page.do("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    give(page, tmp_path, portrait)
    page.js("document.querySelector('#save').click()")
    path, end = tmp_path / "portrait.json", time.monotonic() + 60
    while not path.is_file():
        assert time.monotonic() < end
        time.sleep(0.05)
    found = served.find(portrait).json
    del found["ms"]
    assert len(found["xyxy"]) == 1
    assert json.loads(path.read_text()) == found | {"file": "portrait.png"}


@pytest.mark.parametrize("model", ["boxes", "poses"])
def test_the_camera(page, tmp_path, model):
    """Results keep coming, are drawn, and end when they should; another model takes over amid them."""
    choose(page, "poses" if model == "boxes" else "boxes")
    page.js("document.querySelector('#camera').click()")
    page.until("document.querySelector('#rate').textContent")
    choose(page, model)
    page.js(
        "document.querySelector('#list').replaceChildren(); document.querySelector('#rate').textContent = ''"
    )
    page.until("document.querySelector('#rate').textContent && !!document.querySelector('#list li')")
    assert text(page, "#camera") == "Stop camera"
    assert not page.js("document.querySelector('#live').hidden")
    assert text(page, "#size") == "256 × 300"
    assert pixels(page, tmp_path).shape == (300, 256, 3)
    page.js("document.querySelector('#camera').click()")
    assert page.js("document.querySelector('#live').hidden && !document.querySelector('#video').srcObject")
    assert text(page, "#camera") == "Use camera"


def test_keys_are_enough(page, tmp_path, portrait):
    """Every control is reached by Tab, in the order of the page, and shows that it is."""
    give(page, tmp_path, portrait)
    reached = []
    for _ in range(5):
        page.press("Tab")
        reached.append(page.js("document.activeElement.id"))
        assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["choose", "camera", "model", "least", "save"]
    page.js("document.querySelector('#least').focus()")
    before = float(text(page, "#shown"))
    page.press("ArrowRight")
    assert float(text(page, "#shown")) == pytest.approx(before + 0.01)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_every_width(page, tmp_path, portrait, width):
    """Nothing sticks out to the right, and what is pressed is large enough for a thumb."""
    page.window(width, 800)
    give(page, tmp_path, portrait)
    assert page.js("document.documentElement.scrollWidth") <= width
    heights = page.js(
        "[...document.querySelectorAll('button, select')].map(e => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 44
    assert (
        page.js("document.querySelector('#canvas').getBoundingClientRect().width")
        > 0.5 * min(width, 900) - 60
    )
