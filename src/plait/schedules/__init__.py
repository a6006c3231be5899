"""WHEN A STAGE WORKS: a pipeline schedule is data, for each rank the list of its actions.

    action -> schedule -> gpipe, one_f_one_b, forward_only -> registry      who builds the list
                       -> timeline -> validate                              who checks it and prices it

The same list is checked here, priced by the planner, performed by the executor and drawn by the report. Nothing here
knows what a stage computes, how large a message is, or how a byte travels.
"""
