"""CHOOSING FOR A CLUSTER: which plan is best on machines of the catalogue that nobody has to own, and why.

    job ──tasks──> what is priced      space ──rules──> legal plans ──search──> the best few dozen, by `estimates`
                                                                          └─played──> ranked, by the event simulation
    groups      unequal machines: stages by speed and memory, or shares of the batch
    explain     why a plan lost, what does not fit, what would change the answer

It prices with `estimates` and balances with `planner.balance`. Nothing is measured and nothing runs here.
"""
