"""The pictures of docs/plan_page.md, made anew: `python -m tests.report.pictures`, where there is a chromium.

Each is a part of one page, from the top of a section to the end of another; where these stand, the browser says.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from tests.report.browser import look_at
from tests.report.reading import parse

ROOT = Path(__file__).parents[2]
JOB = ROOT / "examples" / "jobs" / "llama2_7b_8_l40s.toml"
PARTS = {"ranked": (None, "rivals"), "step": ("step", "changes")}  # None: from the top of the page
WIDTH, MARGIN = 1200, 28
PROBE = """<script>document.title = JSON.stringify(Object.fromEntries([...document.querySelectorAll("section")]
    .map(one => [one.id, [one.getBoundingClientRect().top, one.getBoundingClientRect().bottom]])))</script></body>"""


def main(folder: Path = ROOT / "docs" / "pictures") -> None:
    """Write both parts, light and dark."""
    with TemporaryDirectory() as there:
        page, whole = Path(there, "plan.html"), Path(there, "whole.png")
        ask = ["plan", str(JOB), "--page", str(page), "--out", str(Path(there, "plan.toml"))]
        subprocess.run([sys.executable, "-m", "plait", *ask], check=True, stdout=subprocess.DEVNULL)
        page.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
        for mode in ("light", "dark"):
            look = look_at(page, whole, dark=mode == "dark", width=WIDTH, height=8000)
            places = json.loads(parse(look.document).one("title").text)
            for name, (first, last) in PARTS.items():
                top = 0 if first is None else max(0, round(places[first][0]) - MARGIN)
                part = Image.open(whole).crop((0, top, WIDTH, round(places[last][1]) + MARGIN))
                part.convert("RGB").quantize(256).save(folder / f"plan_page_{name}_{mode}.png", optimize=True)


if __name__ == "__main__":
    main()
