"""What a search found, in words: for the terminal and for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flow.search.chart import duration

if TYPE_CHECKING:
    from flow.search.choose import Verdict
    from flow.search.loop import Selection
    from flow.search.misses import Relaxed


def summary(found: Selection) -> str:
    """The answer in a sentence or two."""
    best, limits = found.winner, found.constraints
    if best is None:
        return (
            f"No board meets both at most {duration(limits.latency_ms)} and at least {limits.accuracy:g} "
            f"({found.metric})."
        )
    text = (
        f"{best.board} with {best.candidate}: {duration(best.latency_ms or 0.0)} of {duration(limits.latency_ms)}, "
        f"{found.metric} {best.accuracy:.4f} of {limits.accuracy:g} on validation, {found.test_accuracy:.4f} on test "
        "samples that decided nothing."
    )
    if found.test_accuracy is not None and found.test_accuracy < limits.accuracy:
        text += f" On those it is {limits.accuracy - found.test_accuracy:.4f} short of the constraint."
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
    limits = found.constraints
    if judged.reason == "too slow" and judged.latency_ms is not None:
        return (
            f"its fastest candidate, {judged.candidate}, takes {duration(judged.latency_ms)}, "
            f"{judged.latency_ms / limits.latency_ms:.2f} times the constraint"
        )
    if judged.reason == "not accurate enough" and judged.accuracy is not None:
        return (
            f"the most accurate that is fast enough, {judged.candidate}, has {judged.accuracy:.4f}, "
            f"{limits.accuracy - judged.accuracy:.4f} short"
        )
    if judged.reason == "does not fit":
        return judged.refusal or "no engine fits"
    return ""


def next_cheaper(found: Selection) -> str:
    """Why the board before the winner failed; empty where it is the first."""
    if found.winner is None or len(found.choice.verdicts) < 2:
        return ""
    judged = found.choice.verdicts[-2]
    return f"The next cheaper board, {judged.board}, is not enough: {reason(judged, found)}."


def gives(relaxed: Relaxed, found: Selection) -> str:
    """What would have to give, and what that would buy."""
    limits = found.constraints
    if relaxed.constraint == "latency":
        share = relaxed.latency_ms / limits.latency_ms
        give = (
            f"latency would have to give: to {duration(relaxed.latency_ms)}, {share:.2f} times the constraint"
        )
    else:
        short = limits.accuracy - relaxed.accuracy
        give = f"accuracy would have to give: to {relaxed.accuracy:.4f}, {short:.4f} less than asked for"
    return f"{give}, for {relaxed.board} with {relaxed.candidate}"
