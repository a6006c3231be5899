"""JUDGING THE PLANNER: measured runs of others, predicted from what they say of themselves, and how wrong that is.

    RUNS.csv ──rows──> Row ──reading──> Task, one plan ──estimates──> seconds, bytes ──scores──> errors, tau, regret
                        └─ malformed: line and column      └─ why skipped     └─ beside one fitted constant a source

No run is known here, and none is read by any price.
"""
