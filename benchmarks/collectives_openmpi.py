"""OpenMPI's side of `collectives.py`, in its own processes: the same kinds, sizes and rounds, one JSON line a row.

mpirun -n 2 python benchmarks/collectives_openmpi.py 1024 65536         needs mpi4py and numpy, nothing of Plait
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise

import numpy as np

__all__: list[str] = []


def main() -> None:
    """Measure the sizes of the command line; rank 0 prints."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("sizes", type=int, nargs="+", help="bytes")
    sizes = arguments.parse_args().sizes
    from mpi4py import MPI  # pyright: ignore[reportMissingImports]

    world = MPI.COMM_WORLD
    rank, ranks = world.Get_rank(), world.Get_size()
    for size in sizes:
        whole, other = np.ones(size // 4, np.float32), np.zeros(size // 4, np.float32)
        part = np.ones(size // 4 // ranks, np.float32)

        def passed(ours: np.ndarray = whole, theirs: np.ndarray = other) -> None:
            if rank == 0:
                world.Send(ours, 1)
                world.Recv(theirs, 1)
            elif rank == 1:
                world.Recv(theirs, 0)
                world.Send(ours, 0)

        kinds = {
            "all_reduce": lambda whole=whole, other=other: world.Allreduce(whole, other, MPI.MAX),
            "reduce_scatter": lambda whole=whole, part=part: world.Reduce_scatter_block(whole, part),
            "all_gather": lambda whole=whole, part=part: world.Allgather(part, whole),
            "send": passed,
        }
        burst = 4 if size > 1 << 23 else 12 if size > 1 << 19 else 100
        for kind, call in kinds.items():
            taken: list[float] = []
            for _ in range(8):
                world.Barrier()
                stamps = [time.perf_counter()]
                for _ in range(burst):
                    call()
                    stamps.append(time.perf_counter())
                taken += [after - before for before, after in pairwise(stamps)][1:]
            last = np.zeros(len(taken))
            world.Allreduce(np.array(taken), last, MPI.MAX)
            if rank == 0:
                seconds = (last / (2 if kind == "send" else 1)).tolist()
                row = {"wire": "OpenMPI", "kind": kind, "bytes": size, "seconds": seconds}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
