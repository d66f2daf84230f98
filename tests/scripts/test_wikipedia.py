"""What a whole Wikipedia would take: the sums by hand."""

from finener.scripts.write_results import wikipedia_on_paper


def test_hours_disk_and_memory_follow_from_rates_and_size():
    size = {
        "articles": 7000,
        "articles_on": "today",
        "packed_gigabytes": 7.2,
        "packed_on": "then",
        "source": "S",
        "address": "A",
    }
    speed = {"megabytes_per_second_per_core": {"1": 3.0, "2": 2.0}, "cores": 2}
    memory = {"megabytes_of_wikitext": 2000, "peak_megabytes_of_a_process": {"2": 400}}
    small = {
        "wikitext_of_a_packed_byte": 2.0,
        "megabytes_per_processor_second": {"1": 2.5},
        "megabytes_of_wikitext": 10.0,
        "seconds_of_stages": {"1": {"parse": 9, "facts": 1}},
    }
    told = wikipedia_on_paper(size, speed, memory, small | {"megabytes_on_disk": {"data": 1.0, "work": 20.0}}, (1, 9))
    assert "14 GB: 2.0 times" in told  # 14,400 MB
    assert "| 2, at the 2.0 MB a second" in told  # 14,400 / 2 / 3,600
    assert "2.0 with 1, 0.4 with 9 workers; one task of the stage `facts` does 10% of the work" in told
    assert "29 GB in `work` until the end, 1 GB of records" in told and "400 MB, measured at 2.0 GB" in told
