"""Draw the pictures of the page for README.md and docs/app.md, in a browser, from a drawn clip.

    python tools/draw_app_docs.py docs/

It needs Chromium and playwright (`make test` installs that). The clip is vos' own, so the pictures
may be shared freely; the masks are the embedded model's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import vos
from vos.sink import write_video
from vos.synthetic import ClipConfig, make_clip

_SIZE_HW = (720, 1280)
_MARGIN_PX = 16
_CLIP = ClipConfig(frame_hw=_SIZE_HW, num_frames=36, seed=4, has_occluder=False)
_SHOWN_FRAME = 14
_PATIENCE_SECONDS = 600
_IS_DRAWN = """(() => {
  const view = document.getElementById("view"), x = view.width / 2, y = view.height / 2;
  return view.getContext("2d").getImageData(x, y, 1, 1).data[3] > 0;
})()"""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(folder: Path) -> None:
    """Write app.jpg and app_dark.jpg into FOLDER."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as started:
        video = Path(temporary, "shapes.mp4")
        frames = vos.frames_from_arrays((frame.rgb for frame, _ in make_clip(_CLIP)), fps=24)
        write_video(video, frames, _CLIP.frame_rate_hz)
        _, labels = next(make_clip(_CLIP))
        browser = started.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, scheme in (("app", "light"), ("app_dark", "dark")):
            out = Path(temporary, "results")
            command = [sys.executable, "-m", "vos", "app", str(video), "--out", str(out)]
            server = subprocess.Popen(
                [*command, "--no-browser"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            try:
                page = browser.new_page(
                    viewport={"width": 1280, "height": 720}, color_scheme=scheme
                )
                page.goto(_address(server))
                page.wait_for_url(re.compile(r"/$"))
                _until(page, "document.getElementById('last-frame').textContent !== '0'")
                _until(
                    page, "!document.getElementById('run-text').textContent.startsWith('Loading')"
                )
                if name == "app":
                    _track(page, labels)
                _go_to(page, _SHOWN_FRAME)
                _until(page, _IS_DRAWN)
                page.wait_for_timeout(1500)
                page.screenshot(path=Path(temporary, f"{name}.png"))
                picture = Image.open(Path(temporary, f"{name}.png")).convert("RGB")
                picture.save(folder / f"{name}.jpg", quality=85)
                page.close()
            finally:
                server.terminate()
                server.wait()
        browser.close()


def _address(server: subprocess.Popen[str]) -> str:
    if server.stdout is None:
        raise RuntimeError("the server's output is not read")
    for line in server.stdout:
        if found := re.search(r"http://\S+", line):
            return found.group()
    raise RuntimeError("the server did not start")


def _track(page: Page, labels: np.ndarray) -> None:
    """Click on two objects, draw a box around the third, name them, and track them over a range."""
    for number, name in enumerate(("ellipse", "rectangle", "star")):
        ys, xs = np.nonzero(labels == number + 1)
        if number:
            page.keyboard.press("n")
            _until(page, f"document.querySelectorAll('#objects li').length === {number + 1}")
        if name == "star":
            page.keyboard.press("x")
            box = [(xs.min() - 4, ys.min() - 4), (xs.max() + 4, ys.max() + 4)]
            (x0, y0), (x1, y1) = (_on_screen(page, *corner) for corner in box)
            page.mouse.move(x0, y0)
            page.mouse.down()
            page.mouse.move(x1, y1, steps=5)
            page.mouse.up()
        else:
            page.mouse.click(*_on_screen(page, xs.mean(), ys.mean()))
        # Its score is there when its mask is.
        _until(
            page,
            rf"/\d\.\d\d/.test(document.querySelectorAll('#objects li')[{number}]?.textContent)",
        )
        page.wait_for_timeout(2000)
        page.keyboard.press("r")
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        chosen = f"document.querySelectorAll('#objects .name')[{number}]"
        _until(page, f"{chosen}?.textContent === '{name}'")
        page.evaluate("document.activeElement.blur()")
    _go_to(page, 24)
    page.keyboard.press("o")
    page.keyboard.press("t")
    _until(page, "document.getElementById('run-text').textContent === 'Up to date'")


def _until(page: Page, condition: str) -> None:
    """Wait from outside: the page lets no code wait inside of it."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            raise RuntimeError(f"it never happened: {condition}")
        page.wait_for_timeout(200)


def _go_to(page: Page, index: int) -> None:
    page.fill("#frame-number", str(index))
    page.keyboard.press("Enter")
    page.evaluate("document.activeElement.blur()")


def _on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    box = page.locator("#view").bounding_box()
    if box is None:
        raise RuntimeError("the page shows no frame")
    height, width = _SIZE_HW
    scale = min((box["width"] - 2 * _MARGIN_PX) / width, (box["height"] - 2 * _MARGIN_PX) / height)
    return (
        box["x"] + (box["width"] - width * scale) / 2 + (x + 0.5) * scale,
        box["y"] + (box["height"] - height * scale) / 2 + (y + 0.5) * scale,
    )


if __name__ == "__main__":
    main()
