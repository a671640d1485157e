"""The page in a real browser: no error, nothing fetched, the winner and every point there, no wider than the screen."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from flow.search.choose import Choice, Verdict
from flow.search.loop import Constraints, Point, Selection
from flow.search.misses import Relaxed
from flow.search.page import page_of

pytestmark = pytest.mark.slow

BROWSER = "chromium"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
         "--disable-background-networking", "--no-first-run", "--enable-logging=stderr")  # fmt: skip
PROBE = """<script>
addEventListener("load", () => {
  const data = document.body.dataset, box = e => e.getBoundingClientRect();
  data.fetched = performance.getEntriesByType("resource").map(e => e.name).join(" ");
  data.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  data.points = [...document.querySelectorAll(".point")].filter(e => box(e).width > 2 && box(e).height > 2).length;
  data.blocks = [...document.querySelectorAll(".timeline g")].filter(e => box(e).width > 50).length;
});
</script>"""
"""Appended to a copy of the page: the page itself runs no script."""
CONTROL = (
    '<html><body><img src="http://127.0.0.1:9/x.png"><script>console.error("heard")</script></body></html>'
)
ANY_BOARD = [f"board-{number}" for number in range(14)]


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page: its document, what scripts and loader complained of, what was fetched."""

    dom: str
    console: list[str]

    def data(self, name: str) -> str:
        """What the probe found."""
        match = re.search(rf'data-{name}="([^"]*)"', self.dom)
        assert match is not None, f"the probe left no {name}"
        return match[1]


def look(page: str, folder: Path, width: int = 1200) -> Seen:
    path = folder / "page.html"
    path.write_text(page.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    assert shutil.which(BROWSER), f"{BROWSER}: not found; install it with `apt-get install chromium`"
    flags = [*FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    shot = subprocess.run(
        [BROWSER, *flags, f"--screenshot={folder / 'page.png'}", path.as_uri()],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (folder / "page.png").read_bytes()[:4] == b"\x89PNG", shot.stderr
    ran = subprocess.run(
        [BROWSER, *flags, "--dump-dom", path.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Seen(ran.stdout, re.findall(r"CONSOLE[:(]\d+\)?\] (.*)", ran.stderr))


def points() -> tuple[Point, ...]:
    """Three candidates on fourteen boards, of which one was not trained."""
    found = []
    for number, board in enumerate(ANY_BOARD):
        for candidate, share, accuracy in (
            ("dense", 1.0, 0.953),
            ("hp-0.50", 0.6, 0.947),
            ("hp-0.90", 0.2, None),
        ):
            found.append(Point(board, candidate, 8.0 / 1.6**number * share, accuracy))
    return tuple(found)


def selection(*, won: bool) -> Selection:
    verdicts = (
        Verdict[str](
            ANY_BOARD[0],
            "does not fit",
            refusal="m.pt2 on board-0: found no engine that fits; choose another",
        ),
        Verdict[str](ANY_BOARD[1], "too slow", "hp-0.50", 3.0),
    )
    best = Verdict[str](ANY_BOARD[2], "serves", "hp-0.50", 1.875, 0.947)
    step = {
        "kind": "linear", "estimated_cycles": 100, "utilisation": 0.7, "macs": 10, "slots": 90, "idle_slots": 5,
        "waits_data": 1, "waits_source": 2,
    }  # fmt: skip
    confirmed = {
        "cycles": 200, "estimated_cycles": 200, "mismatches": 0, "utilisation": 0.7, "multipliers": 64,
        "steps": [{**step, "name": f"step{i}", "cycles": 100} for i in range(2)],
    }  # fmt: skip
    if won:
        return Selection(
            Choice(best, (*verdicts, best)), Constraints(2.0, 0.94), "top-1 accuracy", points(), {}, 0.95, None,
            confirmed, (), {"hp-0.50": 0.5},
        )  # fmt: skip
    relaxed = (Relaxed("latency", ANY_BOARD[13], "dense", 0.02, 0.953),)
    return Selection(
        Choice(None, verdicts),
        Constraints(0.001, 0.94),
        "top-1 accuracy",
        points(),
        {},
        None,
        None,
        None,
        relaxed,
    )


def test_the_probe_sees_faults(tmp_path: Path) -> None:
    """Else the tests below would pass on silence."""
    seen = look(CONTROL, tmp_path)
    assert any("heard" in line for line in seen.console)
    assert seen.data("fetched") == "http://127.0.0.1:9/x.png"


@pytest.mark.parametrize("width", [1200, 500])
@pytest.mark.parametrize("won", [True, False])
def test_the_page_is_whole(tmp_path: Path, width: int, won: bool) -> None:
    seen = look(page_of(selection(won=won), "m.pt2"), tmp_path, width)
    assert seen.console == []
    assert seen.data("fetched") == ""
    assert int(seen.data("overflow")) <= 0
    assert int(seen.data("points")) == 2 * len(ANY_BOARD)
    assert int(seen.data("blocks")) == 2 * won, "steps of the timeline"
    assert ("<h1>board-2 with hp-0.50</h1>" in re.sub(r"\s*(</?h1>)\s*", r"\1", seen.dom)) == won
    assert ("What would have to give" in seen.dom) != won
