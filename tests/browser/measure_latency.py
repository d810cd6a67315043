"""How long a painter waits: from the end of a stroke to its picture on screen, in a real browser.

    python -m tests.browser.measure_latency
    python -m tests.browser.measure_latency --checkpoint untrained:configs/coco_stuff.yaml --precision bf16 --threads 2

Each stroke is a mouse's: pressed, moved in twelve steps across the label map, released at once. The clock starts at the
time stamp of the release and stops after the frame in which the picture of the whole stroke is drawn: the part of the
browser and that of the service are both in it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np

from tests.browser.painter import Painter
from tests.browser.service import running_service

WATCH = """() => {
  const [labels, picture] = ["labels", "picture"].map((id) => document.getElementById(id));
  window.released = 0;
  window.answered = { release: 0, wait: 0 };
  labels.addEventListener("pointerup", (event) => {
    window.released = event.timeStamp;
  }, { capture: true });
  new MutationObserver(() => {
    if (picture.getAttribute("aria-busy") === "true") return;
    const release = window.released;
    // After the next frame: a message that is sent in it is handled when it has been drawn.
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        if (answered.release !== release) window.answered = { release, wait: performance.now() - release };
      };
      port2.postMessage(null);
    });
  }).observe(picture, { attributeFilter: ["aria-busy"] });
}"""


def main() -> None:
    """Prints the median and the 95th percentile, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strokes", type=int, default=200)
    parser.add_argument("--checkpoint", default="weights/landscape.safetensors")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--engine", help="Of what compile made of the checkpoint; it has a precision of its own.")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(
            Path(folder),
            "--threads", options.threads,
            *(("--engine", options.engine) if options.engine else ("--precision", options.precision)),
            checkpoints=[options.checkpoint],
        ) as address,
        sync_playwright() as playwright,
    ):  # fmt: skip
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        painter = Painter(browser.new_page(viewport={"width": 1366, "height": 860}), address)
        painter.visit()
        measure(painter, options.strokes)
        browser.close()


def measure(painter: Painter, strokes: int) -> None:
    """Paints over the first template, and prints the waits every 20 strokes."""
    width, height = painter.size()
    random = np.random.default_rng(0)
    painter.page.evaluate(WATCH)
    names = painter.page.locator("#classes label")
    waits: list[float] = []
    stages: dict[str, list[float]] = {}
    for index in range(strokes):
        names.nth(int(random.integers(names.count()))).click()
        painter.page.locator("#size").fill(str(int(random.integers(4, 24))))
        painter.settle()
        start, end = random.uniform(0.1, 0.9, (2, 2)) * (width, height)
        painter.drag(tuple(start), *(tuple(start + (end - start) * step / 3) for step in (1, 2, 3)))
        painter.wait_for("answered.release === released")
        waits.append(painter.page.evaluate("answered.wait"))
        for name, milliseconds in re.findall(
            r"(\w+) ([\d.]+) ms", painter.page.get_attribute("#timing", "title") or ""
        ):
            stages.setdefault(name, []).append(float(milliseconds))
        if (index + 1) % 20 == 0 or index + 1 == strokes:
            half, most = np.percentile(waits, [50, 95])
            print(f"{len(waits)} strokes: median {half:.0f} ms, 95th percentile {most:.0f} ms", flush=True)
    told = ", ".join(f"{name} {np.median(values):.1f} ms" for name, values in stages.items())
    print(f"of these in the service, medians: {told}; {len(painter.requests) / strokes:.1f} requests a stroke")


if __name__ == "__main__":
    main()
