import itertools

import pytest

from cellwright.launch.host.cores import cgroup_quota, explain_cores, host_topology, plan_cores

# 2 NUMA nodes of 4 physical cores with two hardware threads each: 0-7 and their siblings 8-15.
SIBLINGS = {core: {core % 8, core % 8 + 8} for core in range(16)}
NODES = {core: core % 8 // 4 for core in range(16)}


def plans(affinity, ranks, **topology):
    return [plan_cores([set(affinity)] * ranks, rank, ranks, **topology) for rank in range(ranks)]


@pytest.mark.parametrize("cores, ranks", list(itertools.product([1, 2, 3, 6, 8, 13, 96], [1, 2, 3, 5, 8])))
def test_every_rank_gets_a_core_and_no_two_the_same_while_there_are_enough(cores, ranks):
    made = plans(range(cores), ranks)
    assert all(plan.graph for plan in made)
    if cores >= ranks:
        used = [core for plan in made for core in plan.graph]
        assert sorted(used) == list(range(cores))
        assert max(map(len, (p.graph for p in made))) - min(map(len, (p.graph for p in made))) <= 1


def test_what_the_launcher_bound_stays():
    affinity = [{4, 5}, {6, 7}]
    assert plan_cores(affinity, 0, 2).graph == (4, 5)
    assert plan_cores(affinity, 1, 2).graph == (6, 7)


def test_a_taskset_that_leaves_out_core_0_is_kept_to():
    assert [plan.graph for plan in plans({3, 5, 7, 9}, 2)] == [(3, 5), (7, 9)]


def test_graph_threads_use_one_hardware_thread_of_each_core():
    (plan,) = plans(range(16), 1, siblings=SIBLINGS, nodes=NODES)
    assert plan.graph == tuple(range(8))


def test_ranks_stay_within_numa_nodes():
    for ranks in (2, 4):
        for plan in plans(range(16), ranks, siblings=SIBLINGS, nodes=NODES):
            assert len({NODES[core] for core in plan.graph}) == 1


def test_no_two_ranks_share_a_physical_core():
    made = plans(range(16), 8, siblings=SIBLINGS, nodes=NODES)
    physical = [core % 8 for plan in made for core in plan.graph]
    assert sorted(physical) == list(range(8))


def test_with_a_device_one_core_drives_it_and_the_others_load():
    for plan in plans(range(8), 2, device_target="GPU"):
        assert len(plan.graph) == 1 and len(plan.workers) == 3
        assert plan.graph[0] not in plan.workers
    (single,) = plans({0}, 1, device_target="GPU")
    assert single.workers == (0,)


def test_a_cgroup_quota_limits_the_threads():
    assert all(plan.threads == 1 for plan in plans(range(16), 2, quota=2.0))
    assert all(plan.threads == 1 for plan in plans(range(16), 2, quota=0.5))


def test_quota_and_topology_are_read_from_the_kernel(tmp_path):
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert cgroup_quota(tmp_path / "cpu.max") == 2.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cgroup_quota(tmp_path / "cpu.max") is None
    assert cgroup_quota(tmp_path / "missing") is None
    (tmp_path / "cpu3" / "topology").mkdir(parents=True)
    (tmp_path / "cpu3" / "topology" / "thread_siblings_list").write_text("3,11\n")
    (tmp_path / "cpu3" / "node1").mkdir()
    assert host_topology([3, 4], tmp_path) == ({3: {3, 11}}, {3: 1})


def test_the_explanation_names_ranges():
    assert explain_cores(plans({0, 1, 2, 5}, 1)) == ["local rank 0: graph on cores 0-2,5, loader workers on 0-2,5"]
