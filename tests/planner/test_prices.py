"""The parts of a step: stages balanced by cost, sums hidden behind backward, ranks that share cores."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from plait.planner.communication_volume import stage_message_bytes
from plait.planner.machine import Machine
from plait.planner.memory import memory_of
from plait.planner.prices import JobPrices
from plait.planner.simulator import played
from plait.planner.spread import Spread, inside
from plait.planner.stage import stage_of
from plait.planner.step_cost import Chores, Phase, Round, StepCost
from plait.plans.offload import HOST_RATE
from plait.plans.plan import Plan
from plait.specs.cluster import ClusterSpec
from plait.specs.links import Overlap
from plait.specs.measurements import Contention, Measurements
from tests.planner.machines import machine
from tests.planner.shapes import GPT2, LLAMA, TRAINING

ONE = Plan(stages=(2,))
DP2 = Plan(data=2, stages=(2,), data_shares=(1, 1))
TP2 = Plan(tensor=2, stages=(2,), tensor_shares=(1, 1))


THREE_BUCKETS = replace(DP2, bucket_bytes=4 * 872)
QUICK = {"flops": 1e15, "bandwidth": 1e15, "latency": 1e-3, "link": 1e18}  # latency alone


def cost(plan, model=GPT2, training=TRAINING, **changes):
    return JobPrices(model, training, machine(**changes)).step(plan)


def test_the_head_is_counted_in_the_balance():
    large = replace(LLAMA, layers=7, vocab=400)  # the head: 8 · 400, a block about 480 weights of products
    prices = JobPrices(large, TRAINING, machine())
    assert prices.balanced(Plan(pipeline=2, stages=(4, 3))) == (5, 2)
    small = JobPrices(replace(large, vocab=2), TRAINING, machine())
    assert small.balanced(Plan(pipeline=2, stages=(4, 3))) == (4, 3)


def test_one_rank_has_no_communication():
    found = cost(ONE)
    assert found.stages[0].data == found.send == found.exchange == found.tensor_sums == found.pipeline_sums == 0.0
    assert found.stages[0].forward.tensor == found.stages[0].backward.tensor == 0.0


def test_tensor_collectives_stand_inside_the_phases():
    # without bandwidth to speak of: latency alone; 5 leaves forward and 2 of the loss, 5 enters backward
    found = cost(TP2, latency=1e-3, link=1e18)
    assert found.stages[0].forward.tensor == pytest.approx(7e-3)
    assert found.stages[0].backward.tensor == pytest.approx(5e-3)
    assert found.tensor_sums == pytest.approx(1e-3)  # the norm's
    assert cost(TP2, training=replace(TRAINING, clip_norm=0.0), latency=1e-3).tensor_sums == 0.0


def test_a_long_backward_hides_the_first_buckets():
    # three buckets (see test_communication_volume): the first is full before block 0 begins, the second when it ends,
    # the third right after that, when the embedding has been passed; and the loss is told
    slow = cost(THREE_BUCKETS, flops=1e6, latency=1e-3, link=1e18)
    assert slow.stages[0].data == pytest.approx(3e-3, rel=1e-3)
    fast = cost(THREE_BUCKETS, **QUICK)
    assert fast.stages[0].data == pytest.approx(4e-3)
    one_bucket = cost(DP2, flops=1e6, latency=1e-3, link=1e18)
    assert one_bucket.stages[0].data == pytest.approx(2e-3)


def test_buckets_are_for_the_link_and_a_fixed_machine_s_best_is_near():
    large = replace(GPT2, hidden=256, heads=4, kv_heads=4, ffn=1024, vocab=1000, layers=8)
    plan = Plan(data=2, stages=(8,), data_shares=(1, 1))
    for link in (1e7, 1e8, 1e9, 1e11):
        prices = JobPrices(large, TRAINING, machine(link=link))
        chosen = prices.bucket_bytes(plan)
        by_size = {2**power: played(replace(plan, bucket_bytes=2**power), prices) for power in range(16, 29)}
        least = min(one.step.seconds for one in by_size.values())
        assert by_size[chosen].step.seconds <= 1.02 * least
        assert by_size[chosen].step.seconds < 1.0001 * by_size[2**28].step.seconds


def test_of_a_small_model_one_bucket_takes_all_and_staged_ones_stay_small():
    crowded = JobPrices(GPT2, TRAINING, machine(cores=2))  # who moves bytes takes a core from who computes
    assert crowded.bucket_bytes(DP2) >= 4 * stage_of(GPT2, TRAINING, DP2, 0).elements
    huge = JobPrices(replace(GPT2, vocab=10**7), TRAINING, machine(cores=2, latency=1e-2))
    assert huge.bucket_bytes(DP2) > huge.bucket_bytes(replace(DP2, zero=2)) == 25 * 2**20
    assert crowded.bucket_bytes(ONE) == ONE.bucket_bytes  # nobody to sum with


SERVED = replace(DP2, synchronisation="parameter-server")


def test_a_server_that_waits_for_all_costs_exchanges():
    assert cost(SERVED, **QUICK).stages[0].data == pytest.approx(2e-3)  # gradients both ways at once; the loss
    assert cost(SERVED, **QUICK).renewal == pytest.approx(2e-3)  # the norm; weights both ways at once
    alone = cost(replace(SERVED, data=3, data_shares=(1,) * 3, servers=1), **QUICK)
    assert alone.stages[0].data == pytest.approx(3e-3)  # two workers' gradients, one after another; the loss
    assert alone.renewal == pytest.approx(3e-3)


def test_portions_pull_and_push_and_are_all_applied():
    plan = replace(SERVED, staleness=1)
    found = cost(plan, **QUICK)
    assert found.stages[0].data == found.stages[0].slowed == 0.0  # nobody waits for a sum
    # the second rank: a ticket asked for and given; weights asked for and given; a gradient, announced
    assert found.renewal == pytest.approx(6e-3)
    slow = {"bandwidth": 1e6}
    assert cost(plan, **slow).optimizer == pytest.approx(2 * cost(SERVED, **slow).optimizer)


def test_where_no_core_is_left_what_is_hidden_slows_compute_down():
    slow = {"flops": 1e6, "latency": 1e-3, "link": 1e18}
    half = (Overlap(backend="gloo", ranks=2, exposed=0.5),)
    machines = (machine(**slow, cores=3), machine(**slow, cores=2), replace(machine(**slow, cores=2), overlap=half))
    for measured, share in zip(machines, (0.0, 1.0, 0.5), strict=True):
        (stage,) = JobPrices(GPT2, TRAINING, measured).step(THREE_BUCKETS).stages
        assert stage.data == pytest.approx(3e-3, rel=1e-3)
        assert stage.slowed == pytest.approx(share * 1e-3, rel=1e-3)  # the one bucket that is behind compute


def test_ranks_beyond_the_cores_share_them():
    prices = JobPrices(GPT2, TRAINING, machine(cores=2))
    assert [prices.machine.crowd(ranks) for ranks in (1, 2, 4)] == [1.0, 1.0, 2.0]
    assert JobPrices(GPT2, TRAINING, machine()).machine.crowd(64) == 1.0
    four = replace(DP2, data=4, data_shares=(1,) * 4)
    assert prices.step(four).optimizer == pytest.approx(2 * prices.step(DP2).optimizer)


def test_a_link_among_more_ranks_than_cores_is_not_slowed_down_twice():
    # between 4 ranks it was measured while they shared 2 cores: it costs that, and no more
    alone = cost(
        replace(DP2, data=4, data_shares=(1,) * 4), latency=1e-3, link=1e18, cores=2, flops=1e15, bandwidth=1e15
    )
    assert alone.stages[0].data == pytest.approx(2e-3)


def test_what_is_taken_away_is_gone_and_nothing_else():
    plan = Plan(data=2, tensor=2, pipeline=2, stages=(1, 1), tensor_shares=(1, 1), data_shares=(1, 1))
    found = cost(plan)
    quiet = found.without("tensor")
    assert all(stage.forward.tensor == stage.backward.tensor == 0.0 for stage in quiet.stages)
    assert quiet.tensor_sums == 0.0
    assert [stage.data for stage in quiet.stages] == [stage.data for stage in found.stages]
    assert all(stage.data == stage.slowed == 0.0 for stage in found.without("data").stages)
    free = found.without("pipeline")
    assert (free.send, free.exchange, free.pipeline_sums) == (0.0, 0.0, 0.0)
    assert free.stages == found.stages


def test_even_stages_keep_the_work():
    found = cost(Plan(pipeline=2, stages=(1, 1)), model=replace(GPT2, vocab=500))
    level = found.with_even_stages()
    assert level.stages[0].seconds == pytest.approx(level.stages[1].seconds)
    assert sum(map(level.working, range(2))) == pytest.approx(sum(map(found.working, range(2))))
    half = found.with_compute(0.5)
    assert half.stages[0].forward == Phase(compute=found.stages[0].forward.compute / 2)


def shared(measured):
    """The same links, on which nothing moves but while somebody waits."""
    links = tuple(replace(link, backend="shared-memory") for link in measured.collectives)
    return replace(measured, collectives=links)


ALONE = replace(DP2, synchronisation="local-sgd", local_steps=4)


def test_averages_hide_behind_a_step_where_the_link_goes_on_by_itself():
    """A meeting's one sum takes 1 ms, and the loss's every step as long."""
    steady = {"latency": 1e-3, "link": 1e18, "bandwidth": 1e15, "cores": 8}
    slow, quick = machine(flops=1e6, **steady), machine(flops=1e15, **steady)

    def seconds(plan, measured):
        return JobPrices(GPT2, TRAINING, measured).step(plan).stages[0].data - 1e-3

    for measured in (slow, quick):
        assert seconds(ALONE, shared(measured)) == pytest.approx(1e-3 / 4, rel=1e-3)
    assert seconds(ALONE, slow) == pytest.approx(0.0, abs=1e-8)
    step = 1e-3 - 4 * seconds(ALONE, quick)  # what a step is too short for is exposed
    assert 0 < step < 1e-6
    each = replace(ALONE, local_steps=1)  # no step to hide behind
    assert seconds(each, slow) == pytest.approx(1e-3, rel=1e-3)


def test_the_second_message_of_a_meeting_is_waited_for():
    steady = {"latency": 1e-3, "link": 1e18, "bandwidth": 1e15, "cores": 8, "flops": 1e6}
    factored = replace(ALONE, compression="powersgd:1")
    stages = [JobPrices(GPT2, TRAINING, measured).step(factored).stages[0] for measured in
              (machine(**steady), shared(machine(**steady)))]  # fmt: skip
    assert stages[1].data - stages[0].data == pytest.approx(1e-3 / 4, rel=1e-3)  # of three messages, one


def test_moving_averages_takes_the_cores_of_who_computes():
    steady = {"latency": 1e-3, "link": 1e18, "bandwidth": 1e15, "flops": 1e6}
    (full,) = JobPrices(GPT2, TRAINING, machine(cores=2, **steady)).step(ALONE).stages
    assert full.data - 1e-3 == pytest.approx(1e-3 / 4, rel=1e-3)


def test_each_message_of_the_tensor_axis_costs_its_calls():
    quiet, called = (cost(TP2, **QUICK, dispatch=seconds).stages[0] for seconds in (0.0, 1e-6))
    alone, called_alone = (cost(ONE, **QUICK, dispatch=seconds).stages[0] for seconds in (0.0, 1e-6))
    more = (called.forward.compute - quiet.forward.compute) - (called_alone.forward.compute - alone.forward.compute)
    assert more == pytest.approx(7 * 16 * 1.1e-6, rel=0.1)  # 7 messages (see above), 16 calls each; adds of the split


def test_weights_that_are_put_together_are_copied_and_gradients_laid_apart():
    kept, pieces = (cost(replace(DP2, zero=zero, microbatch=2), flops=1e15, latency=0.0, link=1e18) for zero in (1, 3))
    stage, each = stage_of(GPT2, TRAINING, DP2, 0), 4 / 10e9
    table, block = 80, 872
    # forward: all, and the table once more, as it is the head's, too; each element read and written
    forward = pieces.stages[0].forward.compute - kept.stages[0].forward.compute
    assert forward == pytest.approx(2 * each * (stage.elements + table))
    # backward: the first block again. A gradient was added to a sum (3 touched); it is copied (2), and half is added;
    # the table has two
    backward = pieces.stages[0].backward.compute - kept.stages[0].backward.compute
    assert backward == pytest.approx(2 * each * block + (2 + 1.5 - 3) * each * (stage.elements + table))


def test_chores_are_all_that_levels_of_zero_and_actions_compute_longer():
    def computed(plan):
        found = cost(plan, dispatch=1e-6).stages
        compute = sum(stage.forward.compute + stage.backward.compute for stage in found)
        return compute, Chores(*map(sum, zip(*(stage.chores for stage in found), strict=True)))

    whole, halves = replace(ONE, microbatch=2), Plan(pipeline=2, stages=(1, 1), microbatch=2)
    levels = [computed(replace(DP2, zero=zero, microbatch=2)) for zero in (1, 2, 3)]
    assert levels[0][1].fetching == levels[1][1].fetching == 0.0
    assert levels[2][1].fetching > 0.0
    for (less, chores), (more, others) in (*pairwise(levels), (computed(whole), computed(halves))):
        assert more > less
        assert more - less == pytest.approx(sum(others) - sum(chores))
    assert computed(halves)[1].acting == pytest.approx(2 * computed(whole)[1].acting)


def test_gradients_begin_with_zeros_and_are_scaled():
    each, elements = 4 / 10e9, stage_of(GPT2, TRAINING, ONE, 0).elements
    clipped, unclipped = (cost(ONE, training=replace(TRAINING, clip_norm=norm)).optimizer for norm in (1.0, 0.0))
    assert clipped - unclipped == pytest.approx((1 + 2) * each * elements)  # the norm reads, the clip writes, too
    assert unclipped == pytest.approx((1 + 7) * each * elements)  # zeros, and AdamW


def test_offload_costs_three_copies_where_the_memory_is_the_host_s():
    offloaded, unclipped = replace(ONE, offload="optimizer"), replace(TRAINING, clip_norm=0.0)
    elements = memory_of(GPT2, unclipped, ONE, 0).gradients // 4
    before, after = (cost(plan, training=unclipped, cores=4).optimizer for plan in (ONE, offloaded))
    assert after - before == pytest.approx(3 * 2 * 4 * elements / 10e9)  # each is read and written


def test_offload_on_a_device_takes_what_its_host_takes():
    offloaded, unclipped = replace(ONE, offload="optimizer"), replace(TRAINING, clip_norm=0.0)
    for training in (unclipped, replace(unclipped, optimizer="sgd")):
        kept = memory_of(GPT2, training, offloaded, 0).host
        found = cost(offloaded, training=training)
        zeros = memory_of(GPT2, training, offloaded, 0).gradients / 10e9  # written, where gradients are
        assert found.optimizer == pytest.approx(zeros + 2 * kept / HOST_RATE)
        assert found.optimizer > cost(ONE, training=training).optimizer


def test_each_tensor_is_copied_by_itself():
    offloaded, tensors = replace(ONE, offload="optimizer"), len(stage_of(GPT2, TRAINING, ONE, 0).kept)
    alone, dispatched = (
        cost(offloaded, cores=4, dispatch=seconds).optimizer - cost(ONE, cores=4, dispatch=seconds).optimizer
        for seconds in (0.0, 1e-3)
    )
    assert dispatched - alone == pytest.approx(3 * tensors * 1e-3)


def between_hosts(**overheads: float) -> Measurements:
    """Two of a core each, whose links take no time; of some kinds a message takes these seconds from who computes."""
    quick = machine(flops=1e9, latency=1e-9, link=1e18, cores=1)
    across = tuple(replace(one, hosts=2, overhead=overheads.get(one.kind, 0.0)) for one in quick.collectives)
    return replace(quick, collectives=(*quick.collectives, *across))


def apart(plan: Plan, measured: Measurements) -> StepCost:
    return JobPrices(GPT2, TRAINING, measured, ClusterSpec(ranks=plan.ranks, nodes=2)).step(plan)


def test_messages_to_a_stage_on_another_host_take_time_from_both_stages():
    alone, seconds = Plan(pipeline=2, stages=(1, 1)), 3e-3
    for plan in (alone, replace(alone, data=2, data_shares=(1, 1))):
        quiet, called = apart(plan, between_hosts()), apart(plan, between_hosts(send=seconds))
        for before, after in zip(quiet.stages, called.stages, strict=True):
            assert after.forward == replace(before.forward, pipeline=seconds)
            assert after.backward == replace(before.backward, pipeline=seconds)
            assert after.inputs.pipeline == seconds
        assert called.without("pipeline") == quiet.without("pipeline")
        half = Round(part=0.5)
        assert half.seconds(after.forward, 1) == pytest.approx(before.forward.total / 2 + seconds), "no part of it"
    assert apart(DP2, between_hosts(send=seconds)) == apart(DP2, between_hosts())


@pytest.mark.parametrize(("schedule", "messages"), [("zb-v", (1, 1, 1, 1)), ("interleaved", (1, 2, 2, 1))])
def test_a_stage_in_the_middle_has_two_neighbours_and_its_own_rank_is_none(schedule, messages):
    plan = Plan(pipeline=2, stages=(1, 1, 1, 1), schedule=schedule, virtual_stages=2)  # of zb-v one rank has 1 and 2
    prices = JobPrices(replace(GPT2, layers=4), TRAINING, between_hosts(send=3e-3), ClusterSpec(ranks=2, nodes=2))
    assert [one.forward.pipeline for one in prices.step(plan).stages] == pytest.approx([n * 3e-3 for n in messages])


def test_what_was_measured_among_ranks_that_share_cores_is_not_slowed_down_by_that_again():
    measured = between_hosts(send=3e-3)
    hierarchical = tuple(replace(one, backend="hierarchical") for one in measured.collectives if one.hosts == 2)
    both = replace(measured, collectives=(*measured.collectives, *hierarchical))
    place = Machine(both, "fp32", ClusterSpec(ranks=4, nodes=2))  # two cores in all
    assert place.overhead("send", Spread(hosts=(1, 1))) == pytest.approx(3e-3)
    assert place.overhead("send", Spread(hosts=(2, 2))) == pytest.approx(3e-3 / 2), "four ranks shared them"
    assert place.overhead("send", inside(2)) == place.overhead("all_reduce", Spread(hosts=(1, 1))) == 0.0


def test_each_sum_between_hosts_takes_time_from_backward():
    called, quiet = between_hosts(all_reduce=2e-3), between_hosts()
    for plan, sums in ((DP2, 0), (THREE_BUCKETS, 2)):  # the last leaves after backward
        more = apart(plan, called).stages[0].slowed - apart(plan, quiet).stages[0].slowed
        assert more == pytest.approx(sums * 2e-3)
    gathered = between_hosts(all_gather=2e-3)
    whole = replace(DP2, zero=3, microbatch=2)
    forward, backward = (
        getattr(apart(whole, gathered).stages[0], way).data - getattr(apart(whole, quiet).stages[0], way).data
        for way in ("forward", "backward")
    )
    assert forward == pytest.approx(6 * 2e-3), "the table for both its readers, positions, two blocks, the last norm"
    assert backward == pytest.approx(2e-3), "the first block again"
    far = replace(DP2, local_steps=4, synchronisation="local-sgd")
    each = apart(far, called).stages[0].data - apart(far, quiet).stages[0].data
    assert each == pytest.approx(2e-3 / 4)


def test_dear_messages_make_fewer_buckets():
    large = replace(GPT2, hidden=256, heads=4, kv_heads=4, ffn=1024, vocab=1000, layers=8)
    plan, cluster = Plan(data=2, stages=(8,), data_shares=(1, 1)), ClusterSpec(ranks=2, nodes=2)
    slow = machine(flops=1e10, link=1e8, latency=1e-5, cores=1)
    sizes = []
    for seconds in (0.0, 1e-2):
        across = tuple(replace(one, hosts=2, overhead=seconds) for one in slow.collectives)
        prices = JobPrices(large, TRAINING, replace(slow, collectives=(*slow.collectives, *across)), cluster)
        sizes.append(prices.bucket_bytes(plan))
    assert sizes[0] < sizes[1]


def test_an_action_takes_something_whatever_it_holds():
    quick = {"flops": 1e15, "bandwidth": 1e15, "latency": 0.0, "link": 1e18}
    deep = replace(GPT2, layers=4)
    stages = {name: Plan(pipeline=2, stages=(2, 2), schedule=name) for name in ("1f1b", "zb-h1")}
    found = {
        name: [cost(plan, deep, dispatch=seconds, **quick).stages[0] for seconds in (0.0, 1e-6)]
        for name, plan in stages.items()
    }
    whole, parts = (after.backward.compute - before.backward.compute for before, after in found.values())
    assert parts - whole == pytest.approx(40 * 1.1e-6), "W is an action of its own"
    four = Plan(pipeline=2, stages=(1, 1, 1, 1), schedule="interleaved", virtual_stages=2)
    quiet, called = (cost(four, deep, dispatch=seconds, **quick).stages for seconds in (0.0, 1e-6))
    both = sum(called[place].forward.compute - quiet[place].forward.compute for place in (0, 2))
    one = found["1f1b"][1].forward.compute - found["1f1b"][0].forward.compute
    assert both - one == pytest.approx(20 * 1.1e-6)


def test_an_update_is_crowded_by_what_no_cache_holds_and_its_calls_are_not():
    free, crowded = Contention(ranks=2), Contention(ranks=2, memory=3.0, cached=1.5)
    quick, called = (machine(cores=2, dispatch=seconds) for seconds in (0.0, 1e-3))

    def seconds(measured: Measurements, contention: Contention) -> float:
        return JobPrices(GPT2, TRAINING, replace(measured, contention=contention)).step(DP2).optimizer

    assert seconds(quick, crowded) == pytest.approx(3 * seconds(quick, free))
    views = 1.1e-3 * (30 + len(stage_of(GPT2, TRAINING, DP2, 0).sizes))
    kernels = seconds(called, free) - views
    assert seconds(called, crowded) == pytest.approx(3 * kernels + 1.5 * views)


def test_of_few_microbatches_a_shaped_link_rests_in_the_other_rank_s_turn():
    shaped = between_hosts()
    links = tuple(
        replace(one, bytes_per_second=1e6, burst=1e9) if one.hosts == 2 else one for one in shaped.collectives
    )
    few, many = (
        apart(replace(Plan(pipeline=2, stages=(1, 1)), microbatch=size), replace(shaped, collectives=links))
        for size in (TRAINING.global_batch, TRAINING.global_batch // 2)
    )
    assert (len(few.rounds), len(many.rounds)) == (1, 2)
    size = stage_message_bytes(GPT2, TRAINING, ONE, TRAINING.global_batch, tensor_rank=0)
    pause = min(one.seconds for one in few.stages)  # to the next one in the same direction: forward and backward
    assert few.send == pytest.approx(size / 1e6 - 2 * pause, abs=1e-8)
    pause = min(one.seconds for one in many.stages)
    assert many.send == pytest.approx(size / 2 / 1e6 - pause, abs=1e-8)
    # tied weights are summed after backward, in which nothing went there
    table = 80 * 4
    rested = min(one.backward.total for one in few.stages)
    assert few.pipeline_sums < table / 1e6
    assert few.pipeline_sums >= table / 1e6 - rested


def test_stages_of_two_ranks_share_the_rest_of_their_link():
    """Of four interleaved ones each rank sends two values on and a gradient back with every microbatch, or the other
    way round; of zb-v's, whose second and third are one rank's, one and one."""
    slow = replace(between_hosts(), collectives=tuple(
        replace(one, bytes_per_second=1e4, burst=1e9) if one.hosts == 2 else one for one in between_hosts().collectives
    ))  # fmt: skip
    deep, batch = replace(GPT2, layers=4), TRAINING.global_batch
    plan = Plan(pipeline=2, stages=(1, 1, 1, 1), virtual_stages=2, microbatch=batch // 2)
    size = stage_message_bytes(deep, TRAINING, plan, plan.microbatch, tensor_rank=0)
    for schedule, messages in (("interleaved", 3), ("zb-v", 2)):
        asked = replace(plan, schedule=schedule)
        found = JobPrices(deep, TRAINING, slow, ClusterSpec(ranks=2, nodes=2)).step(asked)
        work = min(sum(one.seconds for one, at in zip(found.stages, found.places, strict=True) if at == place)
                   for place in (0, 1))  # fmt: skip
        assert found.send == pytest.approx(size / 1e4 - work / messages, abs=1e-8)


def test_new_weights_travel_behind_the_next_forward_but_for_the_first_of_them():
    kept = replace(THREE_BUCKETS, zero=1)  # half of an all-reduce each
    slow = cost(kept, flops=1e6, latency=1e-3, link=1e18)
    assert slow.renewal == pytest.approx(1e-3 + 0.5e-3, rel=1e-3)  # the norm, and one bucket
    assert cost(kept, **QUICK).renewal == pytest.approx(1e-3 + 3 * 0.5e-3)  # no forward to speak of
    crowded = cost(kept, flops=1e6, latency=1e-3, link=1e18, cores=2)  # who moves bytes takes a core from who computes
    assert crowded.renewal == pytest.approx(1e-3 + 3 * 0.5e-3, rel=1e-3)


def test_who_waits_for_weights_loses_nothing_to_their_messages_besides():
    plan = replace(DP2, zero=3)

    def lost(speed: float) -> float:
        found = [
            apart(plan, replace(one, collectives=tuple(replace(at, bytes_per_second=speed) for at in one.collectives)))
            for one in (between_hosts(), between_hosts(all_gather=1e-5))
        ]
        before, after = (one.stages[0].forward.data + one.stages[0].backward.data for one in found)
        return after - before

    assert 0 < lost(1e5) < 0.2 * lost(1e18)
