"""The silver builder's benchmark: what it makes of its runs."""

from finener.benchmarks.silver import _STAGE, Run, Way, report


def test_a_speedup_is_over_fewest_workers_of_the_same_executor():
    disk = {"data": 2.0, "work": 25.0}
    runs = {
        Way("local", 1): [Run(10.0, 8.0, 100.0, {"parse": 6, "facts": 2}, disk), Run(12.0, 8.0, 300.0, {}, disk)],
        Way("local", 2): [Run(5.5, 10.0, 200.0, {}, disk)],
        Way("ray", 1): [Run(40.0, 0.1, 50.0, {}, disk)],
        Way("ray", 2): [Run(20.0, 0.1, 50.0, {}, disk)],
    }
    told = report(runs, 22.0)
    assert told["median_seconds"] == {"1": 11.0, "2": 5.5, "ray 1": 40.0, "ray 2": 20.0}
    assert told["speedup"] == {"1": 1.0, "2": 2.0, "ray 1": 1.0, "ray 2": 2.0}
    assert told["megabytes_per_second_per_core"] == {"1": 2.0, "2": 2.0, "ray 1": 0.55, "ray 2": 0.55}
    assert told["megabytes_per_processor_second"] == {"1": 2.75}  # of several workers only the first is waited for
    assert told["peak_megabytes_of_a_process"] == {"1": 300, "2": 200, "ray 1": 50, "ray 2": 50}
    assert told["megabytes_on_disk"] == disk and told["seconds_of_stages"]["1"] == {"parse": 6, "facts": 2}


def test_the_seconds_of_stages_are_read_from_what_the_command_says():
    said = "split    4 tasks, 1 s\nsomething else\nparse    1,280 tasks, 2,345 s\n"
    assert _STAGE.findall(said) == [("split", "1"), ("parse", "2,345")]
