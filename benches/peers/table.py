"""The table that docs/performance.md quotes."""

import statistics


def ratios(ours, theirs):
    """Returns the ratio in each round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def markdown(results):
    """Returns the table. `results` has, by row, the unit and the values of each round by proxy.

    The first proxy is the one under test. A figure is the median over the rounds. A ratio is the
    median of the ratios within the rounds, because a machine that becomes slower in one round
    affects all proxies.
    """
    lines = []
    for row, (unit, values) in results.items():
        first, *others = values
        if not lines:
            lines.append(["work", "unit", *values, *(f"÷ {other}" for other in others)])
            lines.append(["---"] * len(lines[0]))
        medians = (f"{statistics.median(values[name]):.3g}" for name in values)
        compared = (f"{statistics.median(ratios(values[first], values[other])):.2f}" for other in others)
        lines.append([row, unit, *medians, *compared])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace(" --- ", "---")


def spread(results):
    """Returns for each row the smallest and the largest ratio of a round."""
    lines = []
    for row, (_, values) in results.items():
        first, *others = values
        between = []
        for other in others:
            found = ratios(values[first], values[other])
            between.append(f"÷ {other} {min(found):.2f} to {max(found):.2f}")
        lines.append(f"{row}: {', '.join(between)}")
    return "\n".join(lines)
