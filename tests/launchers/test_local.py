"""The pool: results by rank, and every way in which ranks can fail, each ending all of them and naming the first."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import torch
import torch.distributed as dist

from plait.errors import RankFailure, UnusableInput
from plait.launchers import FreshProcesses, RankPool, RankPools, Zygote, emit
from tests.conftest import RunOnRanks


def _gone(pids: list[int]) -> bool:
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        return False
    return True


def _rank_and_world(word: str) -> tuple[int, int, str]:
    return dist.get_rank(), dist.get_world_size(), word


def _sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    mine = values * (dist.get_rank() + 1)
    dist.all_reduce(mine)
    return mine


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_results_come_by_rank(run_on_ranks: RunOnRanks, ranks: int) -> None:
    assert run_on_ranks(ranks, _rank_and_world, "hello") == [(rank, ranks, "hello") for rank in range(ranks)]


def test_more_ranks_than_cores(run_on_ranks: RunOnRanks) -> None:
    values = torch.arange(3, dtype=torch.float64)
    for result in run_on_ranks(8, _sum_over_ranks, values):
        assert torch.equal(result, values * 36)


def test_a_pool_keeps_its_ranks_from_task_to_task(rank_pools: RankPools) -> None:
    pool = rank_pools.pool(2)
    pids = pool.run(os.getpid)
    assert pids == pool.pids
    for step in range(200):
        assert pool.run(_rank_and_world, str(step))[1] == (1, 2, str(step))
    assert pool.run(os.getpid) == pids


def _emit_steps(steps: int) -> None:
    for step in range(steps):
        emit({"rank": dist.get_rank(), "step": step})


def test_events_arrive_in_each_rank_s_order_before_the_result(run_on_ranks: RunOnRanks) -> None:
    heard: dict[int, list[object]] = {0: [], 1: []}
    run_on_ranks(2, _emit_steps, 50, on_event=lambda rank, event: heard[rank].append(event))
    assert heard == {rank: [{"rank": rank, "step": step} for step in range(50)] for rank in (0, 1)}


def _matrix_product_on_two_threads() -> tuple[int, float]:
    matrix = torch.ones(300, 300)
    return torch.get_num_threads(), (matrix @ matrix).sum().item()


def test_forked_ranks_may_have_several_threads(rank_pools: RankPools) -> None:
    with RankPool(2, threads=2, starter=rank_pools.starter) as pool:
        assert pool.run(_matrix_product_on_two_threads) == [(2, 300.0**3)] * 2


def test_fresh_processes_do_the_same() -> None:
    starter = FreshProcesses()
    with RankPool(1, starter=starter) as pool:
        pids = pool.pids
        assert pool.run(_sum_over_ranks, torch.ones(2))[0].tolist() == [1.0, 1.0]
    assert _gone(pids)
    assert starter.exit_code(pids[0]) is not None


def _raise_on_one_while_others_wait() -> None:
    if dist.get_rank() == 1:
        raise ValueError("boom")
    dist.all_reduce(torch.ones(1))


def test_a_rank_that_raises_ends_those_that_wait_for_it(rank_pools: RankPools) -> None:
    pool = RankPool(3, starter=rank_pools.starter)
    pids, start = pool.pids, time.monotonic()
    with pytest.raises(RankFailure) as caught:
        pool.run(_raise_on_one_while_others_wait)
    assert caught.value.rank == 1
    assert caught.value.report.startswith("ValueError: boom\n\nTraceback")
    assert not pool.alive
    assert _gone(pids)
    assert time.monotonic() - start < 10
    with pytest.raises(RuntimeError, match="this pool is dead"):
        pool.run(os.getpid)
    pool.close()


def _fill_the_disk_on_one_while_others_wait(error: Exception) -> None:
    if dist.get_rank() == 1:
        raise error
    dist.barrier()


def test_unusable_input_that_a_rank_meets_is_said_in_its_own_words(rank_pools: RankPools) -> None:
    pool = RankPool(2, starter=rank_pools.starter)
    pids = pool.pids
    with pytest.raises(UnusableInput) as caught:
        pool.run(_fill_the_disk_on_one_while_others_wait, UnusableInput("weights: No space left on device"))
    assert str(caught.value) == "weights: No space left on device"
    assert not pool.alive
    assert _gone(pids)


def test_an_error_of_the_system_in_a_rank_stays_the_rank_s(rank_pools: RankPools) -> None:
    pool = RankPool(2, starter=rank_pools.starter)
    with pytest.raises(RankFailure, match="No space left on device") as caught:
        pool.run(_fill_the_disk_on_one_while_others_wait, OSError(28, "No space left on device"))
    assert caught.value.rank == 1


def _announce_and_wait() -> None:
    emit({})
    if dist.get_rank() != 1:
        dist.all_reduce(torch.ones(1))
    threading.Event().wait()


def test_a_killed_rank_outranks_the_errors_it_causes(rank_pools: RankPools) -> None:
    pool = RankPool(3, starter=rank_pools.starter)
    pids = pool.pids

    def kill_the_second(rank: int, event: object) -> None:
        if rank == 1:
            os.kill(pids[1], signal.SIGKILL)

    with pytest.raises(RankFailure, match="killed by SIGKILL") as caught:
        pool.run(_announce_and_wait, on_event=kill_the_second)
    assert caught.value.rank == 1
    assert _gone(pids)


def test_a_rank_killed_between_tasks_is_found_by_the_next(rank_pools: RankPools) -> None:
    pool = RankPool(2, starter=rank_pools.starter)
    os.kill(pool.pids[0], signal.SIGTERM)
    with pytest.raises(RankFailure, match="rank 0 failed first:\nkilled by SIGTERM"):
        pool.run(_sum_over_ranks, torch.ones(1))


def test_a_hang_is_named_with_the_place(rank_pools: RankPools) -> None:
    pool = RankPool(2, starter=rank_pools.starter)
    pids = pool.pids
    with pytest.raises(RankFailure) as caught:
        pool.run(_hang_on_one, timeout=0.3)
    assert caught.value.rank == 1
    assert caught.value.report.startswith("rank 1 has not answered for 0.3 s\n\nrank 1 stands here:\n")
    assert "in _hang_on_one\n    threading.Event().wait()" in caught.value.report
    assert _gone(pids)


def _hang_on_one() -> None:
    if dist.get_rank() == 1:
        threading.Event().wait()


def test_a_stopped_rank_is_silent_and_ends_too(rank_pools: RankPools) -> None:
    pool = RankPool(2, starter=rank_pools.starter)
    pids = pool.pids
    os.kill(pids[0], signal.SIGSTOP)
    with pytest.raises(RankFailure, match="rank 0 can't say where it stands"):
        pool.run(os.getpid, timeout=0.3)
    assert _gone(pids)


def test_a_collective_gives_up_a_quarter_after_the_pool_s_timeout(rank_pools: RankPools) -> None:
    pool = RankPool(2, timeout=0.5, starter=rank_pools.starter)
    with pytest.raises(RankFailure, match="Timed out waiting 625ms"):
        pool.run(_reduce_with_a_rank_that_hangs, timeout=30.0)


def _reduce_with_a_rank_that_hangs() -> None:
    if dist.get_rank() == 1:
        threading.Event().wait()
    dist.all_reduce(torch.ones(1))


def test_long_work_that_keeps_talking_is_not_a_hang(rank_pools: RankPools) -> None:
    with RankPool(1, starter=rank_pools.starter) as pool:
        assert pool.run(_talk_for_a_second, timeout=0.6) == ["done"]


def _talk_for_a_second() -> str:
    for step in range(5):
        emit({"step": step})
        threading.Event().wait(0.2)
    return "done"


def test_a_zygote_that_is_killed_takes_its_ranks_along() -> None:
    starter = Zygote(modules=())
    pool = RankPool(2, starter=starter)
    os.kill(starter.pid, signal.SIGKILL)
    with pytest.raises(RankFailure, match="nobody knows how it ended"):
        pool.run(_announce_and_wait)
    assert not starter.alive
    starter.close()


class _Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class _BlindStarter(FreshProcesses):
    """Its ranks never seem to end."""

    def exit_code(self, pid: int) -> int | None:
        return None


def test_ranks_that_do_not_end_are_waited_for_all_together(
    rank_pools: RankPools, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, clock = RankPool(4, starter=rank_pools.starter), _Clock()
    monkeypatch.setattr(pool, "_starter", _BlindStarter())
    monkeypatch.setattr("plait.launchers.local.time", clock)
    pool.close()
    assert 4 < clock.now < 6, "seconds, not so many a rank"


def _sum_over_accelerators() -> float:
    values = torch.ones(1, device=torch.accelerator.current_accelerator())
    dist.all_reduce(values)
    return values.item()


@pytest.mark.device
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_a_rank_for_every_accelerator() -> None:
    ranks = torch.accelerator.device_count()
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None
    with RankPool(ranks, backend=dist.get_default_backend_for_device(accelerator)) as pool:
        assert pool.run(_sum_over_accelerators) == [float(ranks)] * ranks


def test_a_pool_needs_a_rank() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RankPool(0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_or_an_error_in_the_parent_ends_the_ranks(
    rank_pools: RankPools, error: type[BaseException]
) -> None:
    pool = RankPool(2, starter=rank_pools.starter)
    pids = pool.pids

    def interrupt(rank: int, event: object) -> None:
        raise error

    with pytest.raises(error):
        pool.run(_announce_and_wait, on_event=interrupt)
    assert not pool.alive
    assert _gone(pids)


def test_ranks_leave_ctrl_c_to_the_parent(rank_pools: RankPools) -> None:
    pool = rank_pools.pool(2)
    for pid in pool.pids:
        os.kill(pid, signal.SIGINT)
    assert pool.run(os.getpid) == pool.pids


def test_a_call_that_can_t_be_sent_leaves_the_pool_unharmed(rank_pools: RankPools) -> None:
    pool = rank_pools.pool(2)
    with pytest.raises(TypeError, match="can't be sent to the ranks: it must be defined at the top level of a module"):
        pool.run(lambda: None)
    with pytest.raises(TypeError, match="arguments must be picklable"):
        pool.run(_rank_and_world, threading.Lock())
    assert pool.run(_rank_and_world, "fine")[0] == (0, 2, "fine")


def test_a_result_that_can_t_be_sent_is_named(run_on_ranks: RunOnRanks) -> None:
    with pytest.raises(RankFailure, match=r"the result of .*lock can't be sent to the parent: cannot pickle"):
        run_on_ranks(1, threading.Lock)


def _open_shared_memory() -> list[str]:
    with open("/proc/self/maps") as maps:
        mapped = [line.split()[-1] for line in maps if "/dev/shm" in line]
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return mapped + [target for link in links if os.path.lexists(link) and "/dev/shm" in (target := os.readlink(link))]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_ranks_hold_no_shared_memory_that_could_stay_behind(run_on_ranks: RunOnRanks) -> None:
    assert run_on_ranks(2, _open_shared_memory) == [[], []]


def test_a_pool_that_failed_is_rebuilt_and_the_others_stay(run_on_ranks: RunOnRanks, rank_pools: RankPools) -> None:
    failing, other = rank_pools.pool(2), rank_pools.pool(3)
    with pytest.raises(RankFailure):
        run_on_ranks(2, _hang_on_one, timeout=0.1)
    assert not failing.alive
    assert [rank for rank, _, _ in run_on_ranks(2, _rank_and_world, "")] == [0, 1]
    assert rank_pools.pool(2) is not failing
    assert rank_pools.pool(3) is other
    assert other.alive


def _make_groups(count: int) -> None:
    for _ in range(count):
        dist.new_group([0])


def test_a_pool_that_tests_have_filled_with_groups_is_given_up(run_on_ranks: RunOnRanks, rank_pools: RankPools) -> None:
    filled = rank_pools.pool(1)
    run_on_ranks(1, _make_groups, 60)
    assert not filled.alive
    assert run_on_ranks(1, _rank_and_world, "") == [(0, 1, "")]
