"""What `check` finds in records, counted by hand."""

import argparse
import json
from pathlib import Path

import pytest

from finener.data_scripts.check import command as check
from finener.data_scripts.check.findings import KINDS, MAX_EXAMPLES
from finener.data_scripts.check.scan import slips_of
from finener.data_scripts.corpus import CorpusError
from finener.data_scripts.record_files import write_records
from finener.ontology_finener import EntityType, Ontology

ROOT = Path(__file__).resolve().parents[3]
AIDA_SAMPLE = [f"{split}={ROOT}/examples/aida_sample/{split}.jsonl" for split in ("test", "train", "dev")]

ONTOLOGY = Ontology(
    "toy",
    [
        EntityType("per"),
        EntityType("loc"),
        EntityType("filler", parents=("per",), assignable=False),
        EntityType("per.poet", parents=("filler",)),
        EntityType("loc.town", parents=("loc",)),
        EntityType("loc.lake", parents=("loc",)),
    ],
)


def record(text, marked=(), record_id=None, **more):
    """A record whose mentions are given by surface; ``("Bree", 1)`` is the second Bree, ``("Bree", "loc")`` one with types."""
    mentions = []
    for surface, *facts in (given if isinstance(given, tuple) else (given,) for given in marked):
        nth = next((fact for fact in facts if isinstance(fact, int)), 0)
        start = -1
        for _ in range(nth + 1):
            start = text.index(surface, start + 1)
        types = [fact for fact in facts if isinstance(fact, str)]
        mentions.append({"start": start, "end": start + len(surface), "types": types})
    typed = any(m["types"] for m in mentions)
    return {
        "id": record_id or text,
        "doc_id": "doc",
        "source": "test",
        "text": text or ".",
        "mentions": mentions,
        "exhaustive": True,
        "typed": typed,
        "ontology": "toy" if typed else "",
        **more,
    }


def report_of(tmp_path, ontology=None, options=None, **splits):
    files = {}
    for split, records in splits.items():
        write_records(records, tmp_path / f"{split}.jsonl")
        files[split] = [str(tmp_path / f"{split}.jsonl")]
    return check.check(files, ontology, **(options or {}))


def found(report):
    """Kind → (count, what its examples show: the text, else the type, else the record)."""
    return {
        f["kind"]: (f["count"], [e.get("text", e.get("type", e.get("record"))) for e in f["examples"]])
        for f in report["findings"]
    }


def test_records_without_fault(tmp_path):
    report = report_of(
        tmp_path,
        ONTOLOGY,
        {"rare": 1},
        train=[
            record("Ann Lee of Bree wrote it.", [("Ann Lee", "per.poet"), ("Bree", "loc.town")], "t1"),
            record("She swam in Long Lake.", [("Long Lake", "loc.lake")], "t2"),
        ],
        test=[record("Nobody swam in Bree.", [("Bree", "loc.town")], "e1", doc_id="other")],
    )
    assert report["findings"] == []
    assert report["splits"]["train"] == {
        "documents": 1,
        "records": 2,
        "words": 13,  # the full stops are words
        "mentions": 3,
        "mentions_per_record": 1.5,
        "types_per_mention": 1.0,
        "exhaustive": 1.0,
        "typed": 1.0,
        "seen_in_train": None,
    }
    assert report["splits"]["test"]["seen_in_train"] == 1.0
    assert "Nothing is wrong" in check.render({"dataset": ["x"], "ontology": "toy", **report})


# ---------------------------------------------------------------- types


def test_types_by_level(tmp_path):
    report = report_of(
        tmp_path,
        ONTOLOGY,
        {"rare": 2},
        train=[record("Ann met Bob in Bree.", [("Ann", "per.poet"), ("Bob", "per"), ("Bree", "loc.town")], "t")],
        test=[record("Cid saw Mere.", [("Mere", "loc.lake")], "e", doc_id="other")],
    )
    # per 2, filler 1, per.poet 1, loc 1, loc.town 1 in train
    assert report["types"]["levels"] == [
        {"level": 1, "types": 2, "seen": 2, "rare": 1, "mentions": {"train": 3, "test": 1}},
        {"level": 2, "types": 3, "seen": 3, "rare": 2, "mentions": {"train": 2, "test": 1}},
        {"level": 3, "types": 1, "seen": 1, "rare": 1, "mentions": {"train": 1, "test": 0}},
    ]
    assert report["types"]["mentions"]["per"] == {"train": 2, "test": 0}
    assert report["types"]["rare"] == ["loc", "filler", "per.poet", "loc.town"]
    assert found(report)["untrained_type"] == (1, ["loc.lake"])
    assert found(report)["only_root"] == (1, ["Bob"])
    assert "unseen_type" not in found(report)


def test_a_branch_that_is_not_seen_is_shown_by_its_top(tmp_path):
    report = report_of(tmp_path, ONTOLOGY, train=[record("Bree.", [("Bree", "loc.town")])])
    assert report["types"]["unseen"] == ["per", "filler", "per.poet", "loc.lake"]
    finding = next(f for f in report["findings"] if f["kind"] == "unseen_type")
    assert (finding["count"], finding["of"]) == (4, 6)
    assert finding["examples"] == [{"type": "per", "note": "+ 2 below"}, {"type": "loc.lake"}]


def test_types_of_a_mention(tmp_path):
    report = report_of(
        tmp_path,
        ONTOLOGY,
        train=[
            record("Ann saw Bob.", [("Ann", "per", "per.poet"), ("Bob", "filler")], "1"),
            record("Cid saw Dee.", [("Cid", "per.peot"), "Dee"], "2"),
            record("Bree.", [("Bree", "loc.town")], "3", ontology="another"),
        ],
    )
    results = found(report)
    assert results["redundant_type"] == (1, ["Ann"])
    assert results["not_assignable"] == (1, ["Bob"])
    assert results["unknown_type"] == (1, ["Cid"])
    assert results["untyped_mention"] == (1, ["Dee"])
    assert results["other_ontology"] == (1, ["3"])
    unknown = next(f for f in report["findings"] if f["kind"] == "unknown_type")
    assert "did you mean 'per.poet'" in unknown["examples"][0]["note"]


def test_without_an_ontology_types_are_only_counted(tmp_path):
    report = report_of(tmp_path, train=[record("Bree.", [("Bree", "loc.town", "x")])])
    assert report["types"] is None
    assert report["splits"]["train"]["types_per_mention"] == 2
    assert found(report) == {"no_ontology": (1, ["Bree."])}


def test_conflicting_types_are_looked_for_within_a_document(tmp_path):
    bree = [("Bree", "loc.town")]
    person = [("Bree", "per.poet")]
    report = report_of(
        tmp_path,
        ONTOLOGY,
        train=[
            record("Bree is old.", bree, "1"),
            record("Bree is young.", person, "2"),
            record("Bree is wet.", [("Bree", "loc.lake")], "3"),  # the same root as at first
            record("Bree is tall.", person, "4", doc_id="another"),
        ],
    )
    finding = next(f for f in report["findings"] if f["kind"] == "conflicting_types")
    assert finding["count"] == 1
    assert finding["examples"][0]["record"] == "2"
    assert finding["examples"][0]["note"] == "per.poet; earlier loc.town"


# ---------------------------------------------------------------- mentions that can't be predicted


def test_boundary_inside_a_word(tmp_path):
    report = report_of(tmp_path, train=[record("The Breelanders of Rohan-upon-Sea.", ["Bree", "Rohan"], "1")])
    finding = next(f for f in report["findings"] if f["kind"] == "inside_word")
    assert (finding["count"], finding["of"], finding["level"]) == (1, 2, "warning")
    assert finding["examples"] == [
        {"split": "train", "record": "1", "start": 4, "end": 8, "text": "Bree", "note": "in …The Breelanders of…"}
    ]


def test_longer_than_a_window(tmp_path):
    records = [record("Ann of Bree on Sea left.", ["Ann of Bree on Sea"])]
    assert "beyond_window" not in found(report_of(tmp_path, options={"window_words": 5}, train=records))
    report = report_of(tmp_path, options={"window_words": 4}, train=records)
    assert found(report)["beyond_window"] == (1, ["Ann of Bree on Sea"])


def test_with_a_tokenizer(tmp_path):
    tokenizer = small_tokenizer(tmp_path)
    records = [
        record("Ann\u200b met \u200b\u200b in Bree.", ["Ann\u200b"], "1"),
        record("Bob saw \u200b\u200b\u200b here.", ["\u200b\u200b\u200b"], "2"),
    ]
    assert "no_sub_token" not in found(report_of(tmp_path, train=records))
    assert found(report_of(tmp_path, options={"tokenizer": tokenizer}, train=records))["no_sub_token"][0] == 1
    long = [record("Ann of Bree left.", ["Ann of Bree"])]
    report = report_of(tmp_path, options={"tokenizer": tokenizer, "window_words": 2}, train=long)
    assert found(report)["beyond_window"] == (1, ["Ann of Bree"])


def small_tokenizer(folder):
    """A WordPiece tokenizer that removes zero-width characters, as BERT's do."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "ann", "bob", "bree", "of"]
    backend = BertWordPieceTokenizer({piece: i for i, piece in enumerate(pieces)})
    BertTokenizerFast(tokenizer_object=backend._tokenizer).save_pretrained(folder / "tokenizer")
    return str(folder / "tokenizer")


# ---------------------------------------------------------------- duplicates, leakage


def test_duplicates_and_leakage(tmp_path):
    report = report_of(
        tmp_path,
        train=[
            record("Ann left Bree in May.", ["Ann"], "1"),
            record("ann  left Bree, in May!", ["ann"], "2", doc_id="b"),  # the same but for case, blanks and marks
            record("Thank you.", [], "3", doc_id="c"),
            record("Thank you.", [], "4", doc_id="d"),  # too short to count
        ],
        test=[
            record("ANN left Bree in May.", ["ANN"], "5", doc_id="e"),
            record("Nobody left Bree in June.", [], "2", doc_id="b"),
        ],
    )
    shown = {f["kind"]: f["examples"] for f in report["findings"]}
    counts = {kind: count for kind, (count, _) in found(report).items()}
    assert counts | {"doubled_text": 1, "leaked_text": 1, "doubled_id": 1, "leaked_document": 1} == counts
    assert "marked_differently" not in counts
    assert shown["doubled_text"] == [
        {"split": "train", "record": "2", "text": "ann  left Bree, in May!", "note": "also train 1"}
    ]
    assert shown["leaked_text"][0] | {"record": "5", "split": "test", "note": "also train 1"} == shown["leaked_text"][0]
    assert shown["doubled_id"][0]["note"] == "also train 2"
    assert shown["leaked_document"] == [{"split": "test", "record": "b", "note": "also in train"}]


def test_the_same_text_marked_differently(tmp_path):
    text = "Ann left Bree in May."
    report = report_of(
        tmp_path,
        train=[
            record(text, ["Ann"], "0", exhaustive=False),  # not all is marked: it may differ
            record(text, ["Ann", "Bree"], "1"),
            record(text, ["Ann", "Bree"], "2"),
            record(text, ["Ann"], "3"),
        ],
    )
    finding = next(f for f in report["findings"] if f["kind"] == "marked_differently")
    assert finding["count"] == 1
    assert finding["examples"] == [{"split": "train", "record": "3", "text": text, "note": "also train 1"}]


def test_an_id_twice_in_a_file_is_found(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "1", "text": "Ann."}\n{"id": "1", "text": "Bob."}\n', encoding="utf-8")
    assert found(check.check({"train": [str(path)]})) == {"doubled_id": (1, ["Bob."])}


# ---------------------------------------------------------------- slips


def test_names_left_unmarked(tmp_path):
    marked = [record(f"Bree is {word}.", ["Bree"], word) for word in ("old", "wet", "red")]
    elsewhere = [
        record("They left Bree.", [], "unmarked"),
        record("They left New Bree.", ["New Bree"], "inside a longer mention"),
        record("They left Breeland.", [], "another word"),
        record("They left Bree again.", [], "not exhaustive", exhaustive=False),
    ]
    finding = report_of(tmp_path, train=marked, test=elsewhere)["findings"][-1]
    assert (finding["kind"], finding["count"]) == ("unmarked_name", 1)
    assert finding["examples"] == [
        {
            "split": "test",
            "record": "unmarked",
            "start": 10,
            "end": 14,
            "text": "Bree",
            "note": "marked 3 times, not marked 1",
        }
    ]
    # Twice marked is not often, and half of the places is not mostly.
    assert "unmarked_name" not in found(report_of(tmp_path, train=marked[:2], test=elsewhere))
    more = [record(f"Bree {word}.", [], word) for word in ("falls", "stands")]
    assert "unmarked_name" not in found(report_of(tmp_path, train=marked, test=[*elsewhere, *more]))


def test_names_left_unmarked_of_several_words(tmp_path):
    names = ["New Bree", "Bree"] * 3
    marked = [record(f"{name} is {i}.", [name], str(i)) for i, name in enumerate(names)]
    report = report_of(tmp_path, train=[*marked, record("Old New Bree, not New Breeland.", [], "x")])
    assert found(report)["unmarked_name"] == (1, ["New Bree"])


def test_lower_case(tmp_path):
    records = [
        record("The Shire is green.", ["Shire"], "1"),
        record("the shire, the shire", ["shire", ("shire", 1)], "2"),
        record("Water is wet.", ["Water"], "3"),  # a capital from its place
        record("much water", ["water"], "4"),
    ]
    assert found(report_of(tmp_path, train=records))["lower_case"] == (2, ["shire"])


@pytest.mark.parametrize(
    ("surface", "slips"),
    [
        ("Ann Lee", []),
        ("St. Louis", []),
        ("J. R. R. Tolkien", []),
        ("U.S.", []),
        ("Inc.", []),
        ("Yahoo!", []),
        ("The Hague", []),
        (".NET", []),
        ("reddit . com", []),
        ("„Die Zeit“", []),
        ("Bree (town)", []),
        ("Bree,", ["outer_punctuation"]),
        ("- Bree", ["outer_punctuation"]),
        ("Breeland.", ["outer_punctuation"]),
        ("Bree)", ["unbalanced"]),
        ("Ann (Bree", ["unbalanced"]),
        ('the "Bree', ["unbalanced", "article"]),
        ("the Shire", ["article"]),
        ("Bree. Then Rohan", ["across_sentences"]),
        ("Bree\nRohan", ["across_sentences"]),
        ("a b c d e f g h i j k l", ["article"]),
        ("b c d e f g h i j k l m n", ["long_mention"]),
    ],
)
def test_slips_of_a_surface(surface, slips):
    assert list(slips_of(surface)) == slips


# ---------------------------------------------------------------- files, command line


def run(*arguments):
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    return check.run(parser.parse_args([str(a) for a in arguments]))


def test_a_bad_record_is_an_error_and_the_rest_is_checked(tmp_path, capsys):
    bad, good = tmp_path / "bad.jsonl", tmp_path / "good file.jsonl"
    bad.write_text('{"id": "1", "text": "Ann."}\n{"id": "2"}\n', encoding="utf-8")
    write_records([record("Breelanders.", ["Bree"])], good)
    assert run(f"train={bad}", good) == 1
    shown = capsys.readouterr().out
    assert "1 of 2 files with a bad record" in shown
    assert "bad.jsonl:2: the key 'text' is missing" in shown
    assert "1 of 1 mentions that begin or end inside a word" in shown


@pytest.mark.parametrize(("fail_on", "code"), [("error", 0), ("warning", 1), ("never", 0)])
def test_exit_code_of_a_warning(tmp_path, capsys, fail_on, code):
    write_records([record("Breelanders.", ["Bree"])], tmp_path / "a.jsonl")
    assert run(tmp_path / "a.jsonl", "--fail_on", fail_on) == code
    assert "no errors, 1 warning, no notes" in capsys.readouterr().out


def test_never_fails_when_told_so(tmp_path, capsys):
    write_records([record("Bree.", [("Bree", "loc.twon")])], tmp_path / "a.jsonl")
    ONTOLOGY.to_json(tmp_path / "toy.json")
    assert run(tmp_path / "a.jsonl", "--ontology", tmp_path / "toy.json") == 1
    assert run(tmp_path / "a.jsonl", "--ontology", tmp_path / "toy.json", "--fail_on", "never") == 0


def test_a_built_folder(tmp_path, capsys):
    from finener.data_scripts.build import build

    write_records([record("Bree is old.", [("Bree", "loc.town")])], tmp_path / "in.jsonl")
    ONTOLOGY.to_json(tmp_path / "toy.json")
    files = {"test": [str(tmp_path / "in.jsonl")], "train": [str(tmp_path / "in.jsonl")]}
    out = tmp_path / "my corpus"
    build("records", files, out, {"ontology": str(tmp_path / "toy.json")})
    splits, beside = check.find_splits([str(out)])
    assert (list(splits), beside) == (["train", "test"], str(out / "ontology.json"))
    assert run(out, "--output_file", tmp_path / "report.json") == 1  # the same ids in both
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["ontology"] == "toy"
    assert found(report)["doubled_id"][0] == 1
    with pytest.raises(CorpusError, match="expected a folder made by `build`"):
        check.find_splits([str(tmp_path)])


def test_the_aida_sample_has_no_error(capsys):
    assert run(*AIDA_SAMPLE, "--ontology", "aida") == 0
    shown = capsys.readouterr().out
    assert shown.index("\ntrain") < shown.index("\ntest")
    assert "✗" not in shown
    assert max(map(len, shown.splitlines()[1:])) <= 140


def test_many_examples_are_not_kept(tmp_path):
    records = [record(f"Bree{i} land", [f"Bree{i}"[:4]], str(i), doc_id=str(i)) for i in range(40)]
    records += [record(f"Rohan{i}x land", [f"Rohan{i}"], f"r{i}") for i in range(40)]
    finding = next(f for f in report_of(tmp_path, train=records)["findings"] if f["kind"] == "inside_word")
    assert (finding["count"], len(finding["examples"])) == (80, MAX_EXAMPLES)
    assert [e["text"] for e in finding["examples"]].count("Bree") == 1


def test_the_page_explains_every_kind():
    page = (ROOT / "docs" / "checking.md").read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []


def test_a_split_without_records(tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    write_records([record("李白在长安。", ["李白", "长安"])], tmp_path / "a.jsonl")
    assert run(f"train={tmp_path}/empty.jsonl", f"test={tmp_path}/a.jsonl") == 0
    shown = capsys.readouterr().out
    assert "Nothing is wrong" in shown  # each CJK character is a word
    assert [row.split()[:5] for row in shown.splitlines() if row.startswith(("train", "test"))] == [
        ["train", "0", "0", "0", "0"],
        ["test", "1", "1", "6", "2"],
    ]


def test_what_is_no_record_file(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1, but no more")
    with pytest.raises(CorpusError, match="no such file or folder"):
        run(tmp_path / "b.jsonl")
    assert run(tmp_path / "a.parquet") == 1
