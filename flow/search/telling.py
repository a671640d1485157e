"""What a search found, in words: for the terminal and for the page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flow.cost.energy import METHOD
from flow.search.chart import duration
from flow.search.choose import at_level

if TYPE_CHECKING:
    from flow.search.choose import Verdict
    from flow.search.loop import Selection
    from flow.search.misses import Relaxed


def wanted(found: Selection) -> list[str]:
    """The constraints, accuracy last."""
    limits = found.constraints
    texts = [f"at most {duration(limits.latency_ms)}"]
    if math.isfinite(limits.energy_mj):
        texts.append(f"at most {limits.energy_mj:.4g} mJ a sample")
    if math.isfinite(limits.power_w):
        texts.append(f"at most {limits.power_w:.4g} W")
    return [*texts, f"at least {limits.accuracy:g} ({found.metric})"]


def meets(found: Selection) -> str:
    """Of a board that serves."""
    return "meets both" if len(wanted(found)) == 2 else "meets all"


def summary(found: Selection) -> str:
    """The answer in a sentence or two."""
    best, limits = found.winner, found.constraints
    if best is None:
        *others, last = wanted(found)
        both = "both " if len(others) == 1 else ""
        return f"No board meets {both}{', '.join(others)} and {last}."
    text = (
        f"{best.place} with {best.candidate}: {duration(best.latency_ms or 0.0)} of {duration(limits.latency_ms)}, "
        f"{found.metric} {best.accuracy:.4f} of {limits.accuracy:g} on validation, {found.test_accuracy:.4f} on test "
        "samples that decided nothing."
    )
    if found.test_accuracy is not None and found.test_accuracy < limits.accuracy:
        text += f" On those it is {limits.accuracy - found.test_accuracy:.4f} short of the constraint."
    if best.draw is not None:
        text += (
            f" A sample takes {best.draw.energy_mj:.4g} mJ, {best.draw.peak_w:.3g} W at the peak: {METHOD}."
        )
    return text


def confirmation(found: Selection) -> str:
    """What simulation said, or that it was not asked."""
    if found.confirmed is None:
        return "The latency is estimated; --confirm simulates the winner's Verilog."
    cycles, estimated = found.confirmed["cycles"], found.confirmed["estimated_cycles"]
    differ = found.confirmed["mismatches"]
    return (
        f"Simulated in Verilog for one sample: {cycles:,} cycles, {cycles / estimated - 1:+.2%} of the estimate beside "
        f"the same memory; {'every bit is the golden model’s' if not differ else f'{differ} outputs differ'}."
    )


def reason(judged: Verdict[Any], found: Selection) -> str:
    """Why a board did not serve, and by how much."""
    limits, candidate = found.constraints, at_level(judged.candidate or "", judged.level)
    if judged.reason == "too slow" and judged.latency_ms is not None:
        return (
            f"its fastest candidate, {candidate}, takes {duration(judged.latency_ms)}, "
            f"{judged.latency_ms / limits.latency_ms:.2f} times the constraint"
        )
    if judged.reason in ("too much energy", "too much power") and judged.draw is not None:
        energy = judged.reason == "too much energy"
        taken, unit = (judged.draw.energy_mj, "mJ") if energy else (judged.draw.peak_w, "W")
        share = taken / (limits.energy_mj if energy else limits.power_w)
        return (
            f"of the candidates that are fast enough the one that takes least, {candidate}, takes {taken:.4g} "
            f"{unit}, {share:.2f} times the constraint"
        )
    if judged.reason == "more energy" and judged.draw is not None and found.winner is not None:
        assert found.winner.draw is not None
        return (
            f"a candidate that could serve, {candidate}, takes {judged.draw.energy_mj:.4g} mJ, "
            f"{judged.draw.energy_mj / found.winner.draw.energy_mj:.2f} times the winner's"
        )
    if judged.reason == "not accurate enough" and judged.accuracy is not None:
        return (
            f"the most accurate that is fast enough, {candidate}, has {judged.accuracy:.4f}, "
            f"{limits.accuracy - judged.accuracy:.4f} short"
        )
    if judged.reason == "does not fit":
        return judged.refusal or "no engine fits"
    return ""


def next_cheaper(found: Selection) -> str:
    """Why the board before the winner failed; empty where it is the first, and where energy decided."""
    verdicts = found.choice.verdicts
    if found.winner is None or len(verdicts) < 2 or verdicts[-1] != found.winner:
        return ""
    judged = verdicts[-2]
    if any(verdict.reason == "more energy" for verdict in verdicts):
        return ""
    return f"The next cheaper board, {judged.board}, is not enough: {reason(judged, found)}."


def gives(relaxed: Relaxed, found: Selection) -> str:
    """What would have to give, and what that would buy."""
    limits = found.constraints
    if relaxed.constraint == "latency":
        share = relaxed.latency_ms / limits.latency_ms
        give = (
            f"latency would have to give: to {duration(relaxed.latency_ms)}, {share:.2f} times the constraint"
        )
    elif relaxed.constraint in ("energy", "power") and relaxed.draw is not None:
        energy = relaxed.constraint == "energy"
        taken, unit = (relaxed.draw.energy_mj, "mJ") if energy else (relaxed.draw.peak_w, "W")
        share = taken / (limits.energy_mj if energy else limits.power_w)
        give = f"{relaxed.constraint} would have to give: to {taken:.4g} {unit}, {share:.2f} times the constraint"
    else:
        short = limits.accuracy - relaxed.accuracy
        give = f"accuracy would have to give: to {relaxed.accuracy:.4f}, {short:.4f} less than asked for"
    return f"{give}, for {relaxed.place} with {relaxed.candidate}"
