"""The silver builder's run: shards, workers, restarts, executors, the choice of types, and what it tells."""

import bz2
import hashlib
import html.parser
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest

from finener.data_scripts.holding import FolderInUse, hold_folder
from finener.data_scripts.record_files import read_records
from finener.data_scripts.schema import FEATURES, validate_record
from finener.data_scripts.silver import stages
from finener.data_scripts.silver.command import Cluster, SilverError, build_silver
from finener.data_scripts.silver.dumps import DumpError
from finener.data_scripts.silver.records import RecordWriter
from finener.ontology_finener import EntityType, Ontology

from dumps import dump_xml, write_dump

ROOT = Path(__file__).resolve().parents[3]
RIVER, COUNTRY = "River109411430", "Country108544813"
CAST = ("Karl Marx", "Zürich", "Angola", "Niger", "Coosa River", "Brandy River", "Abraham Lincoln", "Stone Bridge")


def make_pages(first, count):
    """Articles that link to one another, so that the types of one shard's titles are told in others."""
    pages = []
    for i in range(first, first + count):
        links = " and ".join(f"[[{CAST[(i + j) % len(CAST)]}]]" for j in range(3))
        text = (
            f"'''Bo Quill {i}''' is a poet. Quill met {links}, then [[Bo Quill {(i * 7) % 40}|Quill]] left France.\n\n"
        )
        pages.append((f"Bo Quill {i}", f"{text}Angola it was.\n[[Category:{1800 + i} births]][[Category:Swiss poets]]"))
    return [*pages, (f"Angolia {first}", "", 0, "Angola")]


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two dumps")
    packed = folder / "part 2.xml.bz2"
    packed.write_bytes(bz2.compress(dump_xml(*make_pages(20, 20)).encode()))
    return [write_dump(folder / "part 1.xml", *make_pages(0, 20)), packed]


def fingerprint(folder):
    """One hash of all that a folder holds."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def records_of(folder):
    return list(read_records(sorted((folder / "data").glob("*.parquet"))))


@pytest.fixture(scope="module")
def undisturbed(dumps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    report = build_silver(dumps, folder, shard_mb=0.002)
    return folder, report


def test_shards_follow_from_the_dump(undisturbed, dumps, tmp_path):
    folder, report = undisturbed
    files = sorted(path.name for path in (folder / "data").iterdir())
    assert len(files) == report["options"]["shards"] > 4
    assert files[0] == f"train-00000-of-{len(files):05d}.parquet"
    records = records_of(folder)
    assert len(records) == report["sentences"] == 40 * 3
    whole = tmp_path / "whole"
    build_silver(dumps, whole)
    assert len(list((whole / "data").iterdir())) == 2  # one for each file
    assert records_of(whole) == records  # in the dump's order, however it was cut
    assert not (folder / "work").exists()


def test_the_records_are_valid_and_load_as_a_dataset(undisturbed, tmp_path):
    folder, report = undisturbed
    ontology = Ontology.from_json(folder / "ontology.json")
    for record in records_of(folder):
        validate_record(record, ontology)
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))["train"]
    assert len(loaded) == report["sentences"]
    assert loaded.features == FEATURES


@pytest.mark.slow  # workers import for seconds
def test_workers_change_nothing(undisturbed, dumps, tmp_path):
    build_silver(dumps, tmp_path / "out", shard_mb=0.002, cluster=Cluster(workers=2))
    assert fingerprint(tmp_path / "out") == fingerprint(undisturbed[0])


# ---------------------------------------------------------------- restarts


def test_a_run_killed_again_and_again_ends_with_the_same_bytes(undisturbed, dumps, tmp_path):
    fork = multiprocessing.get_context("fork")
    out = tmp_path / "out"
    for _ in range(5):
        process = fork.Process(target=build_silver, args=(dumps, out), kwargs={"shard_mb": 0.002})
        process.start()
        process.join(random.uniform(0.05, 1.5))
        process.kill()  # SIGKILL; a run that is done already is as good
        process.join()
    build_silver(dumps, out, shard_mb=0.002)
    assert fingerprint(out) == fingerprint(undisturbed[0])


def test_finished_tasks_are_skipped(undisturbed, dumps, tmp_path, monkeypatch):
    out, mark, done = tmp_path / "out", stages.Mark.task, []

    def dies_once(stage, rank):
        mark(stage, rank)
        done.append(rank)
        if len(done) == 3:  # its file is there, but nobody knows that it is whole
            raise MemoryError("none left")

    monkeypatch.setattr(stages.Mark, "task", dies_once)
    with pytest.raises(MemoryError):
        build_silver(dumps, out, shard_mb=0.002)
    assert not (out / "report.json").exists()
    monkeypatch.setattr(stages.Parse, "task", lambda stage, rank: pytest.fail("parsed twice"))
    build_silver(dumps, out, shard_mb=0.002)
    shards = undisturbed[1]["options"]["shards"]
    assert sorted(done) == sorted([*range(shards), 2])
    assert fingerprint(out) == fingerprint(undisturbed[0])
    monkeypatch.setattr(stages.Split, "task", lambda stage, rank: pytest.fail("built twice"))
    assert build_silver(dumps, out, shard_mb=0.002) == undisturbed[1]  # there already


def test_a_second_run_in_the_same_folder_is_refused(dumps, tmp_path, monkeypatch):
    monkeypatch.setattr(stages.Split, "task", lambda stage, rank: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_silver(dumps, tmp_path / "out")  # leaves its work
    told = f"{tmp_path / 'out' / 'work'}: another run is at it; wait for its end, or choose another --output_dir"
    with hold_folder(tmp_path / "out" / "work", "go away"), pytest.raises(FolderInUse, match=told):
        build_silver(dumps, tmp_path / "out")


@pytest.mark.slow  # workers import for seconds
def test_a_worker_that_dies_is_noticed(undisturbed, dumps, tmp_path):
    psutil = pytest.importorskip("psutil")
    out = tmp_path / "out put"
    command = [sys.executable, "-m", "data_scripts", "silver", "--dump", *map(str, dumps), "--output_dir", str(out)]
    command += ["--workers", "2", "--shard_mb", "0.002"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not any(out.glob("work/logs/parse/logs/*")):
        assert process.poll() is None
        time.sleep(0.02)
    workers = [p for p in psutil.Process(process.pid).children(recursive=True) if not p.children()]
    max(workers, key=lambda p: p.create_time()).kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "a worker died in the stage" in errors and "finished tasks are kept" in errors
    assert subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0
    assert fingerprint(out) == fingerprint(undisturbed[0])


# ---------------------------------------------------------------- executors


@pytest.mark.slow
def test_ray_gives_the_same_bytes_also_when_killed(undisturbed, dumps, tmp_path):
    pytest.importorskip("ray")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "data_scripts", "silver", "--dump", *map(str, dumps), "--output_dir", str(out)]
    command += ["--executor", "ray", "--workers", "2", "--mem_per_cpu_gb", "1", "--shard_mb", "0.01"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(out.glob("work/logs/parse/completions/*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    build_silver(dumps, tmp_path / "local", shard_mb=0.01)
    assert fingerprint(out) == fingerprint(tmp_path / "local")


def test_slurm_jobs_wait_for_one_another_and_give_the_same_bytes(undisturbed, dumps, tmp_path, monkeypatch):
    """A stand-in for ``sbatch`` keeps the jobs; then their tasks run here, as Slurm would run them."""
    dill = pytest.importorskip("dill")
    tools, jobs = tmp_path / "tools", tmp_path / "jobs"
    tools.mkdir()
    jobs.mkdir()
    (tools / "sbatch").write_text(
        f'#!/bin/bash\nn=$(ls "{jobs}" | wc -l)\ncp "${{@: -1}}" "{jobs}/$n"\necho "$@" >> "{jobs}/$n"\necho "Submitted batch job $n"\n'
    )
    (tools / "scontrol").write_text("#!/bin/bash\necho here\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    out = tmp_path / "out put"
    options = {"shard_mb": 0.002, "cluster": Cluster("slurm", 8, 2, "cpu")}
    with pytest.raises(SilverError, match="--slurm_partition"):
        build_silver(dumps, tmp_path / "no", cluster=Cluster("slurm"))
    assert build_silver(dumps, out, **options) == {}
    scripts = {int(path.name): path.read_text() for path in jobs.iterdir()}
    submitted = {n: s for n, s in scripts.items() if "launch_pickled_pipeline" in s}
    assert len(submitted) == len(stages.STAGES)
    for before, after in zip(sorted(submitted), sorted(submitted)[1:], strict=False):
        assert f"--dependency=afterok:{before}" in submitted[after]
    assert "#SBATCH --partition=cpu" in scripts[0] and f"export PATH={Path(sys.executable).parent}" in scripts[0]
    shards = undisturbed[1]["options"]["shards"]
    for number, stage in zip(sorted(submitted), stages.STAGES, strict=True):
        tasks = 1 if isinstance(stage.tasks, int) else len(dumps) if stage.name == "split" else shards
        told = set(re.findall(r"#SBATCH --(.*)", submitted[number]))
        wanted = {
            f"array=0-{tasks - 1}%8",
            "cpus-per-task=1",
            "mem-per-cpu=2G",
            "time=12:00:00",
            f"job-name=silver-{stage.name}",
        }
        assert wanted <= told and not any(line.startswith("qos") for line in told)
    monkeypatch.setenv("SLURM_NODELIST", "here")
    for stage in stages.STAGES:
        pickled = out / "work" / "logs" / stage.name / "executor.pik"
        for rank in json.loads(pickled.with_name("ranks_to_run.json").read_text()):
            monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(rank))
            with pickled.open("rb") as file:
                dill.load(file).run()
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    assert build_silver(dumps, out, **options) == undisturbed[1]
    assert (out / "work").exists()
    for path in sorted((out / "work").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (out / "work").rmdir()
    assert fingerprint(out) == fingerprint(undisturbed[0])


# ---------------------------------------------------------------- what is marked


def small_build(folder, *pages, **options):
    report = build_silver(write_dump(folder / "a.xml", *pages), folder / "out", **options)
    found = {
        (r["text"][m["start"] : m["end"]], m["origin"].partition(":")[0], *m["types"])
        for r in records_of(folder / "out")
        for m in r["mentions"]
    }
    return report, found


def test_lists_and_disambiguation_pages_are_left_out(tmp_path):
    report, found = small_build(
        tmp_path,
        ("Town", "They saw the [[Niger]], the [[Coosa River]], the [[List of rivers|Rivers]] and [[Nigeria (river)]]."),
        ("List of rivers", "A [[Coosa River]] flows."),
        ("Coosa River", "The [[Niger]] or the [[Angola]].\n{{disambiguation}}"),
        ("Nigeria (river)", "", 0, "Coosa River"),
        ("Talk:Town", "We talk.", 1),
    )
    assert found == {("Niger", "link", COUNTRY)}
    assert [r["doc_id"] for r in records_of(tmp_path / "out")] == ["Town"]
    dropped = report["dropped"]
    assert (
        dropped["page: list"]
        == dropped["page: disambiguation page"]
        == dropped["page: not in the article namespace"]
        == 1
    )
    assert dropped["link: leads to a list"] == 1
    assert dropped["link: leads to a disambiguation page"] == 2  # one of them by a redirect


def test_repeats_are_an_option(tmp_path):
    page = (
        "Ada Quill",
        "'''Ada Quill''' was a poet. Quill met [[Karl Marx]]. Marx left Angola.\n[[Category:Swiss poets]]",
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, with_repeats = small_build(tmp_path / "a", page)
    _, without = small_build(tmp_path / "b", page, repeats=False)
    assert {(s, o) for s, o, *_ in without} == {("Karl Marx", "link"), ("Angola", "gazetteer")}
    assert without < with_repeats
    assert {s for s, o, *_ in with_repeats if o == "repeat"} == {"Ada Quill", "Quill", "Marx"}


def test_a_table_of_types_is_a_source_of_its_own(tmp_path):
    table = tmp_path / "my table.tsv"
    table.write_text(f"Brae\t{RIVER}\nKarl Marx\tPoet110444194|NoSuchClass\nBrae\t{RIVER}\n", encoding="utf-8")
    report, found = small_build(tmp_path, ("Town", "By the [[Brae]] lived [[Karl Marx]] in [[Zürich]]."), types=[table])
    types = {surface: types for surface, _, *types in found}
    assert types["Brae"] == [RIVER]  # nothing else knows of it
    assert "Poet110444194" in types["Karl Marx"]
    assert report["typed links by source"]["mapping"] >= 1
    assert report["rows of type tables by source"] == {"mapping": 3}
    assert report["rows of type tables left out"] == {"NoSuchClass": 1}


def test_a_title_that_comes_twice_is_read_once(tmp_path):
    first = write_dump(tmp_path / "a.xml", ("Town", "One [[Angola]]."), ("Bree", "In [[Niger]]."))
    second = write_dump(tmp_path / "b.xml", ("Town", "Two [[Angola]]. Three."), ("Rohan", "In [[Niger]]."))
    report = build_silver([first, second], tmp_path / "out")
    assert [r["text"] for r in records_of(tmp_path / "out")] == ["One Angola.", "In Niger.", "In Niger."]
    assert report["dropped"]["page: its title came before"] == 1


# ---------------------------------------------------------------- types cut

# Three countries and one river: with their ancestors, Country is of 3 mentions and River of 1.
CUT_PAGES = [("Town", "They left [[Angola]], then [[Portugal]], then [[Gabon]], for the [[Brandy River]].")]


def test_types_are_cut_and_fall_back_to_their_ancestors(tmp_path):
    yago = Ontology.from_json(ROOT / "ontologies" / "yago.json")
    full, _ = small_build(tmp_path, *CUT_PAGES)
    counts = full["type counts with ancestors"]
    assert counts[COUNTRY] == 3 and counts[RIVER] == 1
    assert full["types cut"] == 0
    for number, (options, is_kept) in enumerate(
        [({"min_count": 2}, lambda t: counts[t] >= 2), ({"max_types": 3}, lambda t: t in list(counts)[:3])]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        report, found = small_build(folder, *CUT_PAGES, **options)
        kept = set(Ontology.from_json(folder / "out" / "ontology.json").ids)
        assert kept == set(yago.closure(kept))  # closed under ancestors
        assert all(is_kept(t) for t in report["type counts with ancestors"])
        assert report["types cut"] == sum(not is_kept(t) for t in counts) > 0
        river = next(set(types) for surface, _, *types in found if surface == "Brandy River")
        assert river and RIVER not in river
        assert river == set(yago.most_specific(t for t in yago.closure([RIVER]) if is_kept(t)))
        assert report["mentions with types cut to their ancestors"] >= 1
        assert report["mentions"] + report["dropped"].get("mention: all its types were cut", 0) == full["mentions"]


def test_a_mention_without_any_kept_type_is_dropped_and_counted(tmp_path):
    ontology = Ontology(
        "t", [EntityType("per", "person"), EntityType("poet", "poet", ("per",)), EntityType("loc", "place")]
    )
    writer = RecordWriter(ontology, ["loc"])
    sentence = ("Ann saw Bree.", [[0, 3, [ontology.index("poet")], "link"], [8, 12, [ontology.index("loc")], "link"]])
    writer.write([("Ann", [sentence])], tmp_path / "a.parquet")
    (record,) = read_records(tmp_path / "a.parquet", ontology)
    assert [(m["start"], m["types"]) for m in record["mentions"]] == [(8, ["loc"])]
    assert writer.dropped == {"mention: all its types were cut": 1}
    assert writer.types == {ontology.index("loc"): 1}


def test_no_type_left_is_an_error(tmp_path):
    with pytest.raises(SilverError, match=r"no type is left: the most frequent one, \w+, is of 4 mentions"):
        small_build(tmp_path, *CUT_PAGES, min_count=5)


# ---------------------------------------------------------------- bad input, report


def test_a_truncated_dump_and_an_entity_bomb_are_errors(tmp_path):
    path = write_dump(tmp_path / "a b.xml", *make_pages(0, 5))
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:-100], encoding="utf-8")
    with pytest.raises(DumpError, match=r"a b\.xml: broken or truncated XML.*the last good page is"):
        build_silver(path, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["work"]
    path.write_text('<!DOCTYPE m [<!ENTITY a "ha">]>' + text, encoding="utf-8")
    with pytest.raises(DumpError, match="declares entities"):
        build_silver(path, tmp_path / "out 2")
    with pytest.raises(FileNotFoundError, match=r"none\.xml"):
        build_silver(tmp_path / "none.xml", tmp_path / "out 3")


def test_a_folder_with_something_else_is_not_touched(tmp_path):
    dump = write_dump(tmp_path / "a.xml", *CUT_PAGES)
    build_silver(dump, tmp_path / "out")
    before = fingerprint(tmp_path / "out")
    with pytest.raises(SilverError, match=r"other options \(min_count\)"):
        build_silver(dump, tmp_path / "out", min_count=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(SilverError, match="not an empty folder"):
        build_silver(dump, tmp_path / "mine")
    assert fingerprint(tmp_path / "out") == before


class _Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_stands_alone_and_tells_the_numbers(undisturbed):
    folder, report = undisturbed
    page = _Page()
    page.feed((folder / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert not [attrs for _, attrs in page.tags if "src" in attrs or "href" in attrs]
    assert "script" not in dict(page.tags)
    assert f"{report['mentions']:,}" in page.text
    assert all(reason.partition(": ")[2] in page.text for reason in report["dropped"])
    curve = next(attrs["points"] for tag, attrs in page.tags if tag == "polyline").split()
    assert 2 <= len(curve) <= report["types with ancestors"]
    assert all(60 <= float(x) <= 470 and 10 <= float(y) <= 262 for x, y in (point.split(",") for point in curve))


def test_the_report_adds_up(undisturbed):
    folder, report = undisturbed
    mentions = [m for r in records_of(folder) for m in r["mentions"]]
    assert report["mentions"] == len(mentions) == sum(report["mentions by origin"].values())
    assert sum(report["type counts"].values()) == sum(len(m["types"]) for m in mentions)
    assert (report["pages"], report["articles"], report["redirects"]) == (42, 40, 2)
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == report
    assert str(folder.parent) not in (folder / "report.json").read_text(encoding="utf-8")  # nobody's paths
