"""The page in a real browser: the whole way from the first click to the export.

Screenshots of every step are left in the test's folder, or in VOS_SCREENSHOTS.
"""

import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from app_server import (
    HEIGHT,
    NUM_FRAMES,
    SIDE,
    TOKEN,
    WIDTH,
    cookie,
    corner_of,
    draw,
    forwarded,
    get,
    iou,
    make_clip,
    serving,
    stand_in,
)
from browsers import started_browser

import vos
from vos.run.job import Job
from vos.sink import write_video

PATIENCE_SECONDS = 120  # machines that do much else
MARGIN_PX = 16
HIDDEN = (5, 6, 7)


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


class Tab:
    """A tab of the browser; any error in it fails the test."""

    def __init__(
        self,
        browser,
        served,
        screenshots: Path,
        scheme: str = "dark",
        host: str | None = None,
    ) -> None:
        self.faults: list[str] = []
        self.served = served
        self.host = host or f"127.0.0.1:{served.port}"
        self.screenshots = screenshots
        self.page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "console",
            lambda message: message.type == "error" and self.faults.append(message.text),
        )
        self.open()

    def open(self) -> None:
        address = f"http://{self.host}/"
        self.page.goto(f"{address}?token={TOKEN}")
        self.page.wait_for_url(address)
        self.until("document.getElementById('last-frame').textContent === '13'")
        self.until("!document.getElementById('run-text').textContent.startsWith('Loading')")

    def until(self, condition) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        is_met = condition if callable(condition) else lambda: self.page.evaluate(condition)
        while not is_met():
            assert time.monotonic() < deadline, (condition, self.notices(), self.faults)
            self.page.wait_for_timeout(20)
        assert not self.faults

    def notices(self) -> str:
        return self.page.evaluate("document.getElementById('notices').textContent")

    def show(self, name: str) -> None:
        self.wait_for_picture()
        self.page.wait_for_timeout(30)
        self.page.screenshot(path=self.screenshots / f"{name}.png")

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the frame is on the screen."""
        box = self.page.locator("#view").bounding_box()
        scale = min(
            (box["width"] - 2 * MARGIN_PX) / WIDTH, (box["height"] - 2 * MARGIN_PX) / HEIGHT
        )
        return (
            box["x"] + (box["width"] - WIDTH * scale) / 2 + (x + 0.5) * scale,
            box["y"] + (box["height"] - HEIGHT * scale) / 2 + (y + 0.5) * scale,
        )

    def wait_for_picture(self) -> None:
        self.until("import('/static/view.js').then(({ isCurrent }) => isCurrent())")

    def click(self, x: float, y: float, button: str = "left") -> None:
        self.wait_for_picture()
        self.page.mouse.click(*self.on_screen(x, y), button=button)

    def drag(self, *points_xy: tuple[float, float]) -> None:
        self.wait_for_picture()
        self.page.mouse.move(*self.on_screen(*points_xy[0]))
        self.page.mouse.down()
        for point in points_xy[1:]:
            self.page.mouse.move(*self.on_screen(*point), steps=4)
        self.page.mouse.up()

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def go_to(self, index: int) -> None:
        self.page.fill("#frame-number", str(index))
        self.press("Enter")
        self.until(f"document.getElementById('timeline').ariaValueNow === '{index}'")
        self.page.evaluate("document.activeElement.blur()")

    def track(self) -> None:
        self.press("t")
        self.until("document.getElementById('run-text').textContent === 'Up to date'")

    def run_text(self) -> str:
        return self.page.text_content("#run-text")

    def labels(self, index: int) -> np.ndarray:
        return self.served.session.labels(index)

    def is_tinted(self, x: float, y: float) -> bool:
        """Whether the canvas shows something else than the frame there."""
        left, top = self.on_screen(x, y)
        box = self.page.locator("#view").bounding_box()
        red, green, blue, _ = self.page.evaluate(
            "([x, y]) => [...document.getElementById('view').getContext('2d')"
            ".getImageData(x, y, 1, 1).data]",
            [left - box["x"], top - box["y"]],
        )
        return (red, green, blue) != (0, 0, 0)


def draw_hidden(index: int) -> np.ndarray:
    """The first object is gone in some frames."""
    rgb, labels = draw(index)
    if index in HIDDEN:
        rgb[labels == 1] = 0
    return rgb


@pytest.fixture(scope="module")
def hiding_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("hiding") / "clip.mp4"
    frames = vos.frames_from_arrays(map(draw_hidden, range(NUM_FRAMES)), fps=10)
    write_video(path, frames, Fraction(10))
    return path


@pytest.fixture
def screenshots(tmp_path):
    folder = Path(os.environ.get("VOS_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def middle_of(object_id: int, index: int) -> tuple[int, int]:
    left, top = corner_of(object_id, index)
    return left + SIDE // 2, top + SIDE // 2


def test_from_the_first_click_to_the_export(browser, clip, tmp_path, screenshots):
    out = tmp_path / "out"
    truth = [draw(index)[1] for index in range(NUM_FRAMES)]
    with serving(clip, out) as served:
        tab = Tab(browser, served, screenshots)
        tab.until("!document.getElementById('welcome').hidden")
        tab.show("1-opened")
        tab.press("t")
        tab.until(lambda: "Nothing to track yet" in tab.notices())

        tab.click(*middle_of(1, 0))
        tab.until(lambda: iou(tab.labels(0) == 1, truth[0] == 1) > 0.8)
        tab.show("2-clicked")

        tab.press("n")
        tab.until("document.querySelectorAll('#objects li').length === 2")
        tab.press("x")
        left, top = corner_of(2, 0)
        tab.drag((left - 2, top - 2), (left + SIDE + 2, top + SIDE + 2))
        tab.until(lambda: iou(tab.labels(0) == 2, truth[0] == 2) > 0.8)
        tab.show("3-boxed")

        tab.press("b")
        tab.press("1")
        tab.drag((120, 20), (140, 20))
        tab.until(lambda: tab.labels(0)[20, 130] == 1)
        tab.show("4-painted")
        tab.press("Control+z")
        tab.until(lambda: tab.labels(0)[20, 130] == 0)

        tab.press("r")
        tab.page.keyboard.type("red square")
        tab.press("Enter")
        tab.until("document.querySelector('#objects .name').textContent === 'red square'")

        tab.press("Shift+C")
        tab.until("document.getElementById('colours').matches(':popover-open')")
        tab.press("ArrowDown")
        tab.show("4-colours")
        tab.press("Enter")
        tab.until(
            "document.querySelector('#objects .swatch').style.background === 'rgb(170, 218, 244)'"
        )

        tab.track()
        tab.go_to(9)
        tab.until(lambda: tab.is_tinted(*middle_of(1, 9)))
        for index in range(NUM_FRAMES):
            for object_id in (1, 2):
                assert iou(tab.labels(index) == object_id, truth[index] == object_id) > 0.7
        tab.show("5-tracked")

        # A mask that is put right, an object that is not there, and back again.
        tab.press("b")
        tab.press("2")
        tab.press("e")
        x, y = middle_of(2, 9)
        tab.drag((x, y), (x + 4, y + 4))
        tab.until(lambda: tab.labels(9)[y, x] == 0)
        tab.go_to(11)
        tab.until("document.getElementById('stale').textContent.startsWith('object 2')")
        tab.show("5-not-tracked-yet")
        tab.press("1")
        tab.press("a")
        tab.until(lambda: not (tab.labels(11) == 1).any())
        tab.track()
        assert tab.labels(9)[y, x] == 0
        assert not (tab.labels(11) == 1).any()
        tab.until("document.getElementById('stale').hidden")
        tab.until("document.getElementById('frame-number').value === '11'")  # and back
        tab.show("5-corrected")
        tab.press("Control+z")
        tab.press("Control+z")
        tab.until("document.getElementById('run-text').textContent === 'Edits not tracked yet'")
        tab.track()
        assert tab.labels(9)[y, x] == 2
        assert (tab.labels(11) == 1).any()
        tab.go_to(9)

        # A range, marked and taken back.
        tab.press("o")
        tab.until("!document.getElementById('range-box').hidden")
        tab.page.click("#clear-range")
        tab.until("document.getElementById('range-box').hidden")
        tab.press("Control+z")
        tab.press("Control+z")
        tab.until("document.getElementById('run-text').textContent === 'Up to date'")

        for view in ("contour", "matte", "cutout", "original", "overlay"):
            tab.page.click(f"[data-view={view}]")
            tab.show(f"6-{view}")

        tab.page.click("#show-export")
        tab.page.check("input[value=npz]", force=True)
        tab.page.uncheck("input[value=prores]", force=True)
        tab.show("7-export")
        tab.page.click("#export-dialog button[type=submit]")
        tab.until(lambda: "npz" in tab.notices())
        assert list((out / "exports" / "npz").glob("clip*.npz"))

        tab.press("k")
        tab.until("document.getElementById('command-dialog').open")
        command = tab.page.text_content("#command-text")
        assert command.startswith(f"vos-run {clip} --ref-point 0:1:")
        assert "--rename '1:red square' --colour '1:#aadaf4'" in command
        tab.show("8-command")
        tab.press("Escape")
        tab.until("!document.getElementById('command-dialog').open")
        tab.press("?")
        tab.until("document.getElementById('keys-dialog').open")
        tab.show("9-keys")
        tab.press("Escape")

        shown = [tab.labels(index) for index in range(NUM_FRAMES)]
        tab.page.reload()
        tab.until("document.querySelectorAll('#objects li').length === 2")
        tab.until("document.getElementById('run-text').textContent === 'Up to date'")
        tab.page.close()

    # What the page wrote is what vos-run writes.
    document = (out / "clip.json").read_bytes()
    results = vos.read_results(out)
    job = results.job
    assert isinstance(job, Job)
    other = vos.Job(
        source=job.source,
        references=job.references,
        names=job.names,
        colours=job.colours,
        outputs=vos.JobOutputs(folder=tmp_path / "other", overlay_alpha=None),
    )
    vos.run_job(other, stand_in())
    again = vos.read_results(tmp_path / "other")
    for index, labels in enumerate(shown):
        np.testing.assert_array_equal(labels, again.labels(index))

    with serving(clip, out) as served:  # the server was ended and comes back
        tab = Tab(browser, served, screenshots, scheme="light")
        tab.until("document.querySelectorAll('#objects li').length === 2")
        tab.until("document.getElementById('run-text').textContent === 'Up to date'")
        tab.go_to(9)
        tab.show("10-opened-again")
        for _ in range(5):
            tab.press("Control+z")
        tab.until("document.querySelectorAll('#objects li').length === 0")
        tab.page.close()
    assert (out / "clip.json").read_bytes() == document


def test_backwards_doubtful_frames_and_a_further_object(
    browser, hiding_clip, tmp_path, screenshots
):
    truth = [draw(index)[1] == 1 for index in range(NUM_FRAMES)]
    with serving(hiding_clip, tmp_path / "out") as served:
        tab = Tab(browser, served, screenshots, scheme="light")
        tab.go_to(10)
        tab.click(*middle_of(1, 10))
        tab.until(lambda: iou(tab.labels(10) == 1, truth[10]) > 0.8)
        tab.until("!document.getElementById('track-back').disabled")
        tab.press("Shift+T")
        tab.until(lambda: tab.run_text() == "Not all frames tracked")
        assert [index for index in range(NUM_FRAMES) if (tab.labels(index) == 1).any()] == [
            index for index in range(11) if index not in HIDDEN
        ]
        tab.show("11-tracked-backwards")
        tab.press("Control+Enter")
        tab.until(lambda: tab.run_text() == "Up to date")
        assert iou(tab.labels(NUM_FRAMES - 1) == 1, truth[-1]) > 0.7

        doubts = "document.querySelectorAll('#review-list li').length"
        num_doubts = tab.page.evaluate(doubts)
        assert num_doubts > 0
        tab.press("d")
        tab.until("document.querySelector('#review-list .here')")
        shown = int(tab.page.input_value("#frame-number"))
        assert shown == int(tab.page.text_content("#review-list .here .at"))
        tab.show("12-doubtful")
        tab.press("g")
        tab.until(f"{doubts} === {num_doubts - 1}")
        tab.press("Control+z")
        tab.until(f"{doubts} === {num_doubts}")

        before = [tab.labels(index) for index in range(NUM_FRAMES)]
        tab.go_to(3)
        tab.press("n")
        tab.until("document.querySelectorAll('#objects li').length === 2")
        tab.click(*middle_of(2, 3))
        tab.until(lambda: iou(tab.labels(3) == 2, draw(3)[1] == 2) > 0.8)
        tab.show("13-further-object")
        tab.track()
        for index in range(NUM_FRAMES):
            np.testing.assert_array_equal(tab.labels(index) == 1, before[index] == 1)
            assert iou(tab.labels(index) == 2, draw(index)[1] == 2) > 0.7
        tab.show("14-both")

        # The first click on a tracked frame corrects its mask: what is right already stays.
        tab.press("1")
        tab.click(*middle_of(1, 3))
        tab.until("!document.getElementById('clear').disabled")
        np.testing.assert_array_equal(tab.labels(3) == 1, before[3] == 1)
        tab.page.close()


def test_a_forwarded_port(browser, clip, tmp_path, screenshots):
    with serving(clip, tmp_path / "out") as served, forwarded(served.port) as port:
        assert port != served.port
        for name in ("localhost", "127.0.0.1"):
            tab = Tab(browser, served, screenshots, host=f"{name}:{port}")
            tab.until("!document.body.classList.contains('unlinked')")
            tab.page.close()
        tab = Tab(browser, served, screenshots, host=f"localhost:{port}")
        tab.click(*middle_of(1, 0))
        tab.until("document.querySelectorAll('#objects li').length === 1")
        tab.track()
        assert iou(tab.labels(9) == 1, draw(9)[1] == 1) > 0.7
        tab.go_to(9)
        tab.until(lambda: tab.is_tinted(*middle_of(1, 9)))
        tab.show("15-forwarded")
        tab.page.close()
        here = f"localhost:{port}"
        for headers, status in (
            ({"Host": here, "Origin": f"http://{here}"}, 200),
            ({"Host": here, "Origin": f"http://localhost:{served.port}"}, 403),
            ({"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"}, 403),
            ({"Host": here, "Origin": "", "Cookie": ""}, 403),
        ):
            sent = {"Cookie": cookie(served.port)} | headers
            assert get(port, "/labels/0", **sent)[0] == status, headers
