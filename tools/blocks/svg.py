"""Writes a placed figure as SVG: no fonts, scripts or pictures from outside, the same bytes for the same figure.

The picture brings its own background, so that it reads alike on white and on dark pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from blocks.description import Box, Frame
from blocks.geometry import LABEL, TEXT, TITLE, Label, Placed, Rect, Route, when_rect

_STYLE = """
.panel{fill:#fcfcfd;stroke:#d0d7de}
text{font-family:Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif;fill:#1f2328}
.name{font-family:Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;font-weight:600;text-anchor:middle}
.title{font-weight:600;text-anchor:middle}
.note{fill:#4b535d;text-anchor:middle}
.label{text-anchor:middle}
.bits{fill:#6e40aa}
.when{fill:#9a3412}
.logic{fill:#e3edf9;stroke:#2f6299}
.memory{fill:#def1e3;stroke:#2f7d4b}
.part{fill:#fdf3d7;stroke:#a87500}
.outside{fill:#f1f2f4;stroke:#6b7480;stroke-dasharray:4 3}
.frame{fill:none;stroke:#2f6299;stroke-dasharray:2 3}
.framed{fill:#2f6299}
.wire{fill:none;stroke:#24292f;stroke-width:1.6;stroke-linejoin:round}
.control{stroke:#7a838e;stroke-width:1.1}
.head{fill:#24292f}
.head.control{fill:#7a838e;stroke:none}
"""


def write(placed: Placed) -> str:
    """The whole file."""
    wide, high = (_number(value) for value in placed.size)
    size = f'viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(placed.figure.title)}</title>",
        f"<style>{_STYLE}</style>",
        _rect("panel", Rect(0.5, 0.5, placed.size[0] - 1, placed.size[1] - 1), 6),
        *(_frame(frame, rect) for frame, rect in placed.frames),
        *(line for route in placed.routes for line in _route(route)),
        *(line for box in placed.figure.boxes for line in _box(box, placed.boxes[box.key])),
        *(line for route in placed.routes if route.label for line in _label(route.label)),
        "</svg>",
        "",
    ]
    return "\n".join(parts)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(kind: str, x: float, y: float, size: float, text: str) -> str:
    # `text` is escaped by who calls.
    return f'<text class="{kind}" x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}">{text}</text>'


def _rect(kind: str, rect: Rect, radius: int) -> str:
    return (
        f'<rect class="{kind}" x="{_number(rect.x)}" y="{_number(rect.y)}" width="{_number(rect.width)}" '
        f'height="{_number(rect.height)}" rx="{radius}"/>'
    )


def _box(box: Box, rect: Rect) -> Iterator[str]:
    look = "part" if box.signals and not box.memory else box.look
    yield _rect(look, rect, 10 if look == "outside" else 3)
    lines = box.text.split("\n") if box.text else []
    y = rect.y + (rect.height - 15 * len(box.heading) - 13 * len(lines)) / 2 + 11.5
    for line in box.heading:
        yield _text("title" if box.title else "name", rect.x + rect.width / 2, y, TITLE, escape(line))
        y += 15
    for line in lines:
        yield _text("note", rect.x + rect.width / 2, y - 1.0, TEXT, escape(line))
        y += 13
    if box.when:
        at = when_rect(rect, box.when)
        yield _text("when", at.x + 1, at.y + 10.0, LABEL, escape(box.when))


def _frame(frame: Frame, rect: Rect) -> str:
    return _rect("frame", rect, 6) + _text("framed", rect.x + 6, rect.y + 12, TEXT, escape(frame.title))


def _route(route: Route) -> Iterator[str]:
    thin = " control" if route.wire.control else ""
    for number, branch in enumerate(route.branches):
        points = list(branch.points)
        tip, back = points[-1], points[-2]
        start, after = points[0], points[1]
        # Lines end within the heads.
        points[-1] = _towards(tip, back, 5.0)
        if route.wire.back and number == 0:
            points[0] = _towards(start, after, 5.0)
        path = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        yield f'<path class="wire{thin}" d="{path}"/>'
        yield _head(tip, back, thin)
        if route.wire.back and number == 0:
            yield _head(start, after, thin)
        if branch.tee:
            yield f'<circle class="head{thin}" cx="{_number(start[0])}" cy="{_number(start[1])}" r="2.6"/>'


def _towards(a: tuple[float, float], b: tuple[float, float], by: float) -> tuple[float, float]:
    length = abs(b[0] - a[0]) + abs(b[1] - a[1])
    return (a[0] + (b[0] - a[0]) / length * by, a[1] + (b[1] - a[1]) / length * by)


def _head(tip: tuple[float, float], back: tuple[float, float], thin: str) -> str:
    base = _towards(tip, back, 7.0)
    across = (3.4, 0.0) if tip[0] == back[0] else (0.0, 3.4)
    corners = (tip, (base[0] + across[0], base[1] + across[1]), (base[0] - across[0], base[1] - across[1]))
    return f'<path class="head{thin}" d="M{"L".join(f"{_number(x)} {_number(y)}" for x, y in corners)}Z"/>'


def _label(label: Label) -> Iterator[str]:
    y = label.rect.y + 9.5
    for number, line in enumerate(label.lines):
        text = escape(line)
        if label.width and number == len(label.lines) - 1:
            text += f' <tspan class="bits">[{escape(label.width)}]</tspan>'
        yield _text("label", label.rect.x + label.rect.width / 2, y, LABEL, text)
        y += 12.5
