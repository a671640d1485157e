"""What a search found as one HTML page that needs nothing else: verdicts, fronts, the winner's timeline."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from flow.search.chart import duration, estimated_timeline, fronts
from flow.search.telling import confirmation, gives, meets, next_cheaper, reason, summary
from flow.sim.timeline import COLOURS, timeline_svg

if TYPE_CHECKING:
    from flow.search.loop import Selection

STYLE = """
:root { color-scheme: light; --ink: #1d2329; --soft: #5c6670; --line: #dfe4e8; --good: #2d6a1f; --limit: #b3261e }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 1040px;
  color: var(--ink); background: #fff }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem }
p { max-width: 75ch; margin: .4rem 0 } .soft { color: var(--soft) }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .6rem; margin: 1.1rem 0;
  padding: 0 }
.facts div { border: 1px solid var(--line); border-radius: 8px; padding: .55rem .8rem }
.facts dt { color: var(--soft); font-size: .82rem } .facts dd { margin: 0; font-weight: 600; font-size: 1.1rem }
.wide { overflow-x: auto } .wide > svg { min-width: 640px }
.timeline { padding-right: 1.6rem } .timeline > svg { overflow: visible }
table { border-collapse: collapse; width: 100% }
th, td { padding: .35em .7em; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--soft); font-weight: 600; font-size: .85rem }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td:first-child, td:nth-child(2) { white-space: nowrap } td:last-child { min-width: 15rem }
.serves td { font-weight: 600; color: var(--good); background: #f0f7ed }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif }
svg text { fill: var(--ink) } svg .name { font-weight: 600 } svg text.limit { fill: var(--limit) }
svg .axis { stroke: var(--ink) } svg .grid { stroke: #e8ecef } svg .met { fill: #e9f4e5 }
svg line.limit { stroke: var(--limit); stroke-dasharray: 6 4 }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; padding: 0; margin: .6rem 0 }
.legend li { display: flex; align-items: center; gap: .4rem; font-size: .9rem }
.legend svg { width: 12px; height: 12px }
"""


def page_of(found: Selection, model: str) -> str:
    """The page, self-contained; what was not measured is left out, not guessed."""
    root = ET.Element("html", lang="en")
    head = ET.SubElement(root, "head")
    ET.SubElement(head, "meta", charset="utf-8")
    ET.SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    # A browser asks a server for an icon unless the page says that there is none.
    ET.SubElement(head, "link", rel="icon", href="data:,")
    ET.SubElement(head, "title").text = f"flow select {model}"
    ET.SubElement(head, "style").text = STYLE
    body = ET.SubElement(root, "body")
    best = found.winner
    ET.SubElement(body, "h1").text = (
        "No board meets both" if best is None else f"{best.place} with {best.candidate}"
    )
    _add(body, "p", summary(found))
    _facts(body, found, model)
    if best is None:
        _misses(body, found)
    else:
        _add(body, "p", next_cheaper(found))
        _add(body, "p", confirmation(found))
    _add(body, "h2", "Boards, most preferred first")
    _verdicts(body, found)
    _fronts(body, found)
    _timeline(body, found, model)
    ET.indent(root)
    return "<!DOCTYPE html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def _add(parent: ET.Element, tag: str, text: str, kind: str = "") -> None:
    if text:
        ET.SubElement(parent, tag, {"class": kind} if kind else {}).text = text


def _facts(body: ET.Element, found: Selection, model: str) -> None:
    """The question, and the answer in numbers."""
    best, limits = found.winner, found.constraints
    facts = {"model": model, "latency, at most": duration(limits.latency_ms)}
    if best is not None and best.latency_ms is not None:
        facts["latency, estimated"] = duration(best.latency_ms)
    if math.isfinite(limits.energy_mj):
        facts["energy of a sample, at most"] = f"{limits.energy_mj:.4g} mJ"
    if math.isfinite(limits.power_w):
        facts["peak power, at most"] = f"{limits.power_w:.4g} W"
    if best is not None and best.draw is not None:
        facts["energy, estimated"] = f"{best.draw.energy_mj:.4g} mJ"
        facts["peak power, estimated"] = f"{best.draw.peak_w:.3g} W"
    facts[f"{found.metric}, at least"] = f"{limits.accuracy:g}"
    if best is not None:
        facts["on validation samples"] = f"{best.accuracy:.4f}"
        facts["on test samples"] = f"{found.test_accuracy:.4f}"
    if best is not None and best.candidate is not None and best.candidate in found.sparsity:
        facts["sparsity of its matrices"] = f"{found.sparsity[best.candidate]:.1%}"
    if found.lowered is not None:
        engine, estimate = found.lowered.engine, found.lowered.estimate
        facts["level of clock and voltage"] = f"{estimate.level}, {estimate.clock_mhz:g} MHz"
        facts["engine, T × B × P"] = f"{engine.tokens} × {engine.banks} × {engine.rows}"
    group = ET.SubElement(body, "dl", {"class": "facts"})
    for name, value in facts.items():
        fact = ET.SubElement(group, "div")
        _add(fact, "dt", name)
        _add(fact, "dd", value)


def _misses(body: ET.Element, found: Selection) -> None:
    """What would have to give."""
    _add(body, "h2", "What would have to give")
    group = ET.SubElement(body, "ul")
    for relaxed in found.relaxed:
        _add(group, "li", gives(relaxed, found) + ".")
    if not found.relaxed:
        _add(group, "li", "Nothing that was tried meets either constraint alone.")


def _verdicts(body: ET.Element, found: Selection) -> None:
    table = ET.SubElement(ET.SubElement(body, "div", {"class": "wide"}), "table")
    row = ET.SubElement(table, "tr")
    for name in ("board", "verdict", "candidate"):
        ET.SubElement(row, "th").text = name
    drawn = any(judged.draw is not None for judged in found.choice.verdicts)
    for name in ("latency", *(("mJ a sample", "peak W") if drawn else ()), found.metric):
        ET.SubElement(row, "th", {"class": "number"}).text = name
    ET.SubElement(row, "th").text = "why"
    for judged in found.choice.verdicts:
        row = ET.SubElement(table, "tr", {"class": "serves"} if judged.reason == "serves" else {})
        for text in (str(judged.place), judged.reason, judged.candidate or "–"):
            ET.SubElement(row, "td").text = text
        latency = "–" if judged.latency_ms is None else duration(judged.latency_ms)
        accuracy = "–" if judged.accuracy is None else f"{judged.accuracy:.4f}"
        draw = judged.draw
        drawing = ("–", "–") if draw is None else (f"{draw.energy_mj:.4g}", f"{draw.peak_w:.3g}")
        for text in (latency, *(drawing if drawn else ()), accuracy):
            ET.SubElement(row, "td", {"class": "number"}).text = text
        ET.SubElement(row, "td").text = reason(judged, found) or meets(found)
    judged_names = {judged.board for judged in found.choice.verdicts}
    rest = [name for name in dict.fromkeys(p.board for p in found.points) if name not in judged_names]
    if rest:
        _add(body, "p", f"Behind the winner, so not judged: {', '.join(rest)}.", "soft")


def _fronts(body: ET.Element, found: Selection) -> None:
    _add(body, "h2", "Fronts")
    svg, legend = fronts(found)
    if any(point.accuracy is not None for point in found.points):
        _add(
            body, "p",
            f"Latency of one sample against {found.metric} on the validation samples, for every candidate that was "
            "trained, on every board that holds it, at its nominal level and at that of its verdict. Lines join what "
            "no other candidate of the board beats in both; both constraints are met in the shaded field. A point’s "
            "tooltip has its numbers.",
        )  # fmt: skip
        ET.SubElement(body, "div", {"class": "wide"}).append(svg)
        body.append(legend)
    untrained = list(dict.fromkeys(point.candidate for point in found.points if point.accuracy is None))
    if untrained:
        _add(body, "p", f"Not needed for the answer, so not trained: {', '.join(untrained)}.", "soft")
    for name, why in found.left_out.items():
        _add(body, "p", f"Left out {name}: {why}.", "soft")


def _timeline(body: ET.Element, found: Selection, model: str) -> None:
    """By simulation where there was one, else by the estimate."""
    if found.confirmed is not None:
        _add(body, "h2", "The winner, cycle by cycle")
        _add(body, "p", "Simulated. A block is a step, as long as its cycles; its dark part is the share of them in "
             "which the array took operands.")  # fmt: skip
        drawing = ET.fromstring(timeline_svg(model, found.confirmed))
        for element in drawing.iter():
            # HTML knows a drawing by the plain name alone.
            element.tag = element.tag.rpartition("}")[2]
        ET.SubElement(body, "div", {"class": "wide timeline"}).append(drawing)
    elif found.lowered is not None:
        _add(body, "h2", "The winner, step by step")
        _add(body, "p", "Estimated. A block is a step, as long as its cycles; its dark part is the utilisation of the "
             "multipliers.")  # fmt: skip
        steps = found.lowered.estimate.steps
        ET.SubElement(body, "div", {"class": "wide timeline"}).append(estimated_timeline(steps, COLOURS))
