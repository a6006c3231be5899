"""PRICING A CLUSTER FROM DATA SHEETS: what a step takes on machines that nobody has profiled, many plans at a time.

    arrangements ─┐
    machines     ─┼─> kernels, attention, collectives ─> block ─> step      seconds, by term
    practice     ─┘                          states, activations ─> memory  bytes of the worst rank
    constants      every fitted number, in one table

Columns of numpy in, columns out: a million plans take seconds. What this machine was measured to do is `planner`'s.
"""
