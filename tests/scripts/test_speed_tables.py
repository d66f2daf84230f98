"""The tables of docs/performance.md."""

from __future__ import annotations

from finener.scripts.speed_tables import memory_table, silver_table, speed_trial_tables, training_speed_table

STORED = {"way": "stored", "types": 8295, "milliseconds_per_step": 50.0, "sentences_per_second": 640.0}
FROZEN = {"way": "frozen", "types": 8295, "milliseconds_per_step": 1250.0, "sentences_per_second": 25.6}
RESULTS = {"machine": "x86_64, 1 thread", "versions": {"torch": "2.13.0"}}


def test_ways_to_train_are_told_beside_stored_states():
    rows = [
        {**STORED, "gigaflops_per_step": 7.2, "gigabytes": 0.891},
        {**FROZEN, "gigaflops_per_step": 55.1, "gigabytes": 0.99},
    ]
    told = training_speed_table(
        "bench_training_cpu", {**RESULTS, "rows": rows, "other_work": "load of the machine 1.0"}
    )
    assert "| stored | 8,295 | 50.0 | 1.0 × | 640 | 7 | 0.89 GB |" in told
    assert "| frozen | 8,295 | 1,250.0 | 25.0 × | 26 | 55 | 0.99 GB |" in told
    assert "(../results/bench_training_cpu.json); load of the machine 1.0)" in told and "| memory at most |" in told


def test_a_gpu_tells_its_own_memory_and_no_operations():
    told = training_speed_table("bench_training_gpu", {**RESULTS, "rows": [{**STORED, "gpu_gigabytes": 2.765}]})
    assert "| stored | 8,295 | 50.0 | 1.0 × | 640 | 2.77 GB |" in told
    assert "| GPU memory at most |" in told and "operations" not in told


def test_memory_is_told_by_the_number_of_records():
    rows = [
        {"work": work, "records": number, "megabytes_at_most": size}
        for work, number, size in (
            ("evaluation", 1000, 700),
            ("evaluation", 4000, 1702),
            ("prediction", 1000, 5),
            ("prediction", 4000, 6),
        )
    ]
    told = memory_table({"rows": rows})
    assert "|  | 1,000 records | 4,000 records |" in told
    assert "| evaluation | 700 MB | 1,702 MB |" in told and "| prediction | 5 MB | 6 MB |" in told


def test_single_measurements_keep_their_digits():
    rows = [
        {"trial": "thresholds", "scores": {"before": 0.14, "now": 0.002}},
        {"trial": "a list", "scores": {"before": 1825, "now": 861}},
    ]
    told = speed_trial_tables(["parts"], {"parts": {"how": "Milliseconds of parts", "rows": rows}, "others": {}})
    assert "Milliseconds of parts:" in told
    assert "| thresholds | 0.14 | 0.002 |" in told and "| a list | 1,825 | 861 |" in told


def test_the_silver_builder_is_told_by_executor_and_workers():
    told = {
        "megabytes_of_wikitext": 205.4,
        "median_seconds": {"1": 69.04, "2": 41.86},
        "megabytes_per_second_per_core": {"1": 2.98, "2": 2.45},
        "speedup": {"1": 1.0, "2": 1.65},
        "seconds_of_stages": {"1": {"parse": 31, "select": 0}, "2": {"parse": 16, "select": 0}},
    }
    on_ray = {
        "megabytes_of_wikitext": 100.0,
        "median_seconds": {"ray 2": 50.0},
        "megabytes_per_second_per_core": {"ray 2": 1.0},
        "speedup": {"ray 2": 1.6},
        "seconds_of_stages": {"ray 2": {"parse": 15}},
    }
    shown = silver_table(told, on_ray)
    assert "| local processes | 2 | 205 MB | 42 s | 2.45 MB | 1.65 × | parse 16 |" in shown
    assert "| Ray | 2 | 100 MB | 50 s | 1.00 MB | 1.60 × | parse 15 |" in shown
