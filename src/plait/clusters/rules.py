"""Which plans of a column are legal: `plans.legality`'s rules for the keys that a search leaves open, many at a time.

    tensor     at most as many as there are of what is split most coarsely; with sequence_parallel, of tokens
    pipeline   a layer for each stage         data   a sequence for each replica, a whole microbatch for one
    context    a token for each rank          expert divides the experts, and the ranks that have them

A drawn test holds that these and the rules of single plans agree.
"""

from __future__ import annotations

import numpy as np

from plait.estimates.arrangements import Arrangements, Flags
from plait.plans.arrangements import scarcest
from plait.specs.job import Job

__all__ = ["legal"]


def legal(job: Job, plans: Arrangements) -> Flags:
    """For each plan whether its degrees and sizes suit the job's model and batch; their product is not looked at."""
    training, experts = job.training, job.model.experts
    units = np.where(plans.sequence_parallel, min(scarcest(job)[1], training.sequence_length), scarcest(job)[1])
    rows = -(-training.global_batch // plans.data)
    count = 1 if experts is None else experts.count
    return (
        (plans.tensor <= units)
        & (plans.pipeline * plans.virtual_stages <= job.model.layers)
        & (plans.data <= training.global_batch)
        & (plans.microbatch <= rows)
        & (plans.context <= training.sequence_length)
        & (count % plans.expert == 0)
        & ((plans.data * plans.context * plans.tensor) % plans.expert == 0)
    )
