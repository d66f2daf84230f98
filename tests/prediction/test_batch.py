"""Batch prediction: kinds of input and output, runs that were stopped, several processes."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pytest
from pyarrow import parquet

from finener.data_scripts.corpora.brat import read_brat
from finener.data_scripts.corpora.conll import read_conll
from finener.data_scripts.corpora.docbin import read_docbin
from finener.data_scripts.corpora.tac_edl import read_tac_mentions
from finener.data_scripts.record_files import read_records
from finener.paths import ROOT
from finener.prediction import command
from finener.prediction.command import main
from finener.prediction.outputs import best_type

from texts import ODD_TEXTS, long_text

TEXTS = [long_text(3 + i % 20, i) for i in range(50)]
ROWS = "".join(json.dumps({"id": f"r{i}", "text": text}) + "\n" for i, text in enumerate(TEXTS)).encode()


@pytest.fixture
def expected(predict) -> list[dict]:
    return predict(ROWS)


# -------------------------------------------------------------------- inputs


def test_a_parquet_file_is_read_as_its_rows(predict, expected, tmp_path):
    table = pyarrow.table({"id": [r["id"] for r in expected], "text": TEXTS, "note": list(range(50))})
    parquet.write_table(table, tmp_path / "rows.parquet")
    found = predict((tmp_path / "rows.parquet").read_bytes(), name="in.parquet")
    assert [r.pop("note") for r in found] == list(range(50)) and found == expected


def test_a_parquet_file_without_texts_or_that_is_none_is_told(predict, tmp_path):
    with pytest.raises(SystemExit, match="not a Parquet file"):
        predict(b"PAR1 no", name="in.parquet")
    parquet.write_table(pyarrow.table({"txt": ["Ann"]}), tmp_path / "rows.parquet")
    with pytest.raises(SystemExit, match='expected a column "text", found txt'):
        predict((tmp_path / "rows.parquet").read_bytes(), name="in.parquet")


def test_the_documents_of_a_folder_of_ltf_are_read_whole(model_folder, tmp_path):
    texts = tmp_path / "ltf"
    texts.mkdir()
    (texts / "D1.ltf.xml").write_text(
        '<LCTL_TEXT><DOC id="D1"><TEXT><SEG id="s" start_char="2" end_char="9"><ORIGINAL_TEXT>New York</ORIGINAL_TEXT></SEG>'
        "</TEXT></DOC></LCTL_TEXT>"
    )
    options = ["--model", str(model_folder), "--input", str(texts), "--device", "cpu", "--detection_threshold", "0"]
    assert main([*options, "--output", str(tmp_path / "out.jsonl")]) == 0
    [record] = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert record["id"] == record["doc_id"] == "D1" and record["text"] == "\n\nNew York\n" and record["mentions"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="found no LTF in it"):
        main([*options[:3], str(tmp_path / "empty"), "--output", str(tmp_path / "out.jsonl")])


# -------------------------------------------------------------------- outputs


def spans(records) -> list[list[tuple[int, int]]]:
    return [[(m["start"], m["end"]) for m in r["mentions"]] for r in records]


def single(records, ontology) -> list[list[tuple]]:
    return [[(m["start"], m["end"], best_type(m, ontology)) for m in r["mentions"]] for r in records]


def output(predict, tmp_path: Path, name: str) -> Path:
    with pytest.raises(FileNotFoundError):  # the fixture reads out.jsonl
        predict(ROWS, "--output", str(tmp_path / name))
    return tmp_path / name


def test_parquet_holds_the_records(predict, tmp_path, model_folder, target):
    path = output(predict, tmp_path, "out.parquet")
    found = list(read_records(path, target))
    assert spans(found) == spans(predict(ROWS)) and any(spans(found))


def test_tacs_table_names_each_mention_and_all_its_types(predict, tmp_path, target):
    path, expected = output(predict, tmp_path, "out.tab"), predict(ROWS)
    found = [(d, m.start, m.end, m.types) for d, m in read_tac_mentions(path, ["NAM"], target, Counter())]
    assert found == [(r["id"], m["start"], m["end"], m["types"]) for r in expected for m in r["mentions"]] != []


def test_conll_has_the_mentions_at_their_words(predict, tmp_path, target):
    path, expected = output(predict, tmp_path, "out.conll"), predict(ROWS)
    found = list(read_conll(path, ontology="tgt", scheme="IOB2", separator="\t"))
    words = [[(r["text"][s:e].replace(" ", ""), t) for s, e, t in single([r], target)[0]] for r in expected]
    assert [
        [(r["text"][m["start"] : m["end"]].replace(" ", ""), *m["types"]) for m in r["mentions"]] for r in found
    ] == words


def test_brat_has_the_texts_and_their_mentions(predict, tmp_path, target):
    path, expected = output(predict, tmp_path, "out"), predict(ROWS)
    for record, wanted in zip(expected, single(expected, target), strict=True):
        files = (path / f"{record['id']}.txt", path / f"{record['id']}.ann")
        [found] = read_brat(*files, unit="document", ontology="tgt")
        assert found["text"] == record["text"]
        assert [(m["start"], m["end"], *m["types"]) for m in found["mentions"]] == wanted
    assert "[entities]\n" in (path / "annotation.conf").read_text()


def test_brat_writes_nothing_outside_its_folder(predict, tmp_path):
    rows = b'{"id": "../../up", "text": "New York"}\n{"id": ".hidden", "text": "New"}\n'
    with pytest.raises(FileNotFoundError):
        predict(rows, "--output", str(tmp_path / "out"))
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {".._.._up.txt", ".._.._up.ann", "_hidden.txt", "_hidden.ann", "annotation.conf"} or names == {
        "_._.._up.txt", "_._.._up.ann", "_hidden.txt", "_hidden.ann", "annotation.conf"
    }  # fmt: skip
    rows = [{"id": name, "text": name[:2]} for name in ("a/b", "a b", "x" * 500)]
    with pytest.raises(FileNotFoundError):
        predict("".join(json.dumps(row) + "\n" for row in rows).encode(), "--output", str(tmp_path / "other"))
    assert {file.stem for file in (tmp_path / "other").glob("*.ann")} == {"a_b", "a_b-2", "x" * 60 + "-3"}


def test_a_docbin_has_the_texts_and_their_mentions(predict, tmp_path, target):
    pytest.importorskip("spacy", reason="spaCy is not installed")
    texts = [*(text for name, text in ODD_TEXTS.items() if name != "half surrogate pairs"), *TEXTS]
    rows = "".join(json.dumps({"id": f"r{i}", "text": text}) + "\n" for i, text in enumerate(texts))
    with pytest.raises(FileNotFoundError):
        predict(rows.encode(), "--output", str(tmp_path / "out.spacy"))
    expected = [r for r in predict(rows.encode()) if r["text"].strip()]
    found = list(read_docbin(tmp_path / "out.spacy", ontology="tgt"))
    assert [r["text"] for r in found] == [r["text"].strip() for r in expected]
    shifts = [len(r["text"]) - len(r["text"].lstrip()) for r in expected]
    wanted = [[(s - n, e - n, t) for s, e, t in of] for n, of in zip(shifts, single(expected, target), strict=True)]
    assert [[(m["start"], m["end"], *m["types"]) for m in r["mentions"]] for r in found] == wanted


def test_the_call_may_ask_as_in_python(predict, expected):
    only = predict(ROWS, "--types", "loc")
    kept = [[m for m in r["mentions"] if "loc" in m["types"]] for r in expected]
    assert spans(only) == [[(m["start"], m["end"]) for m in mentions] for mentions in kept] != spans(expected)
    assert predict(ROWS, "--head", "source", "--top_k", "2", "--type_threshold", "0.01")[0]["ontology"] == "src"
    assert any(spans(expected)) and not any(spans(predict(ROWS, "--detection_threshold", "1")))
    assert predict(ROWS, "--types", "new", "york")[0]["ontology"] not in ("src", "tgt")
    for wrong, says in (("leaf", "records have all types"), ("lco", "types='lco' is no type of 'tgt'")):
        with pytest.raises(SystemExit, match=says):
            predict(ROWS, "--types", wrong)


# -------------------------------------------------------------------- stopped, shared


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(predict, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "CHUNK_TEXTS", 8)
    predict(ROWS)
    whole = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").unlink()
    predict_chunk, chunks = command._predict_chunk, []

    def stopped(pipe, chunk, *rest):
        chunks.append([row.number for row in chunk])
        if len(chunks) == 4:
            raise KeyboardInterrupt
        return predict_chunk(pipe, chunk, *rest)

    monkeypatch.setattr(command, "_predict_chunk", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict(ROWS)
    [part] = (tmp_path / "out.jsonl.parts").glob("part-*")
    part.write_bytes(part.read_bytes()[:-5])  # the process was killed while it wrote
    assert not (tmp_path / "out.jsonl").exists()
    options = ["--output", str(tmp_path / "out.jsonl"), "--device", "cpu", "--input", str(tmp_path / "in.jsonl")]
    run = json.loads((tmp_path / "out.jsonl.parts" / "run.json").read_text())
    with pytest.raises(SystemExit, match="an earlier run left, with another head: repeat that run to go on with it"):
        main(["--model", run["model"], *options, "--head", "source"])
    assert main(["--model", run["model"], *options]) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == whole and chunks[4][0] == 16, "the chunk that was not whole"
    assert "23 records are done already, going on" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_start_that_failed_leaves_nothing_in_the_way(predict, tmp_path):
    with pytest.raises(SystemExit, match="give types or a head, not both"):
        predict(ROWS, "--head", "source", "--types", "spaceship", "planet")
    assert not (tmp_path / "out.jsonl.parts").exists() and predict(ROWS, "--head", "source")


def test_a_second_run_at_the_same_output_is_refused(predict, expected, tmp_path, monkeypatch):
    predict_rest, whole = command._predict_rest, (tmp_path / "out.jsonl").read_bytes()

    def twice(*given):
        monkeypatch.setattr(command, "_predict_rest", predict_rest)
        with pytest.raises(SystemExit, match="another run is at it"):
            predict(ROWS)
        predict_rest(*given)

    monkeypatch.setattr(command, "_predict_rest", twice)
    predict(ROWS)
    assert (tmp_path / "out.jsonl").read_bytes() == whole


def test_a_run_that_was_killed_while_it_cleared_up_ends_well_when_it_is_started_again(predict, tmp_path, monkeypatch):
    predict(ROWS)
    whole = (tmp_path / "out.jsonl").read_bytes()

    def killed(folder):
        (folder / "run.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("finener.prediction.parts.shutil.rmtree", killed)
        predict(ROWS)
    assert (tmp_path / "out.jsonl.parts").is_dir()
    predict(ROWS)
    assert (tmp_path / "out.jsonl").read_bytes() == whole and not (tmp_path / "out.jsonl.parts").exists()


def test_bad_rows_in_the_midst_do_not_end_the_run(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "CHUNK_TEXTS", 10)
    found = predict(ROWS + b"\n" * 20 + ROWS.replace(b'"r', b'"s'), ends=1)
    assert len(found) == 100 and len((tmp_path / "out.jsonl.failed.jsonl").read_text().splitlines()) == 20


def test_dates_and_bytes_of_parquet_go_on_as_text(predict, tmp_path):
    day = datetime.date(2019, 11, 12)
    parquet.write_table(pyarrow.table({"text": ["New York"], "day": [day], "raw": [b"x"]}), tmp_path / "rows.parquet")
    [record] = predict((tmp_path / "rows.parquet").read_bytes(), name="in.parquet")
    assert record["day"] == "2019-11-12" and record["raw"] == "b'x'"


def test_an_input_that_changed_is_not_gone_on_with(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(ROWS)
    with pytest.raises(SystemExit, match="an earlier run left, with another content of the input"):
        predict(ROWS + ROWS)


@pytest.mark.parametrize("before", [1, 3])
def test_processes_share_the_rows_and_make_the_output_of_one(predict, expected, tmp_path, monkeypatch, before):
    """Also where a run of so many processes was stopped before."""
    monkeypatch.setattr(command, "CHUNK_TEXTS", 4)
    finish = command._finish
    state = SimpleNamespace(process_index=0, num_processes=before, is_main_process=True, device="cpu")
    state.wait_for_everyone = lambda: None
    state.main_process_first = nullcontext
    monkeypatch.setattr(command, "PartialState", lambda **_: state)
    monkeypatch.setattr(command, "_finish", lambda *_: 0)
    with pytest.raises(FileNotFoundError):
        (tmp_path / "out.jsonl").unlink()
        predict(ROWS[: ROWS.index(b'{"id": "r30"')] if before == 1 else ROWS)
    for process in range(2):
        state.process_index, state.num_processes, state.is_main_process = process, 2, process == 0
        if before == 1:  # the rows that were done before are the first of the same file
            run = json.loads((tmp_path / "out.jsonl.parts" / "run.json").read_text())
            (tmp_path / "in.jsonl").write_bytes(ROWS)
            run["content of the input"] = command._state(tmp_path / "in.jsonl")
            (tmp_path / "out.jsonl.parts" / "run.json").write_text(json.dumps(run))
        options = ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl"), "--device", "cpu"]
        model = json.loads((tmp_path / "out.jsonl.parts" / "run.json").read_text())["model"]
        assert main(["--model", model, *options]) == 0
    monkeypatch.setattr(command, "_finish", finish)
    state.process_index, state.num_processes, state.is_main_process = 0, 1, True
    assert main(["--model", model, *options]) == 0
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [r["id"] for r in found] == [r["id"] for r in expected] and spans(found) == spans(expected)
    for one, other in zip(found, expected, strict=True):  # other texts were beside them: rounding differs
        for a, b in zip(one["mentions"], other["mentions"], strict=True):
            assert a["types"] == b["types"] and a["type_scores"] == pytest.approx(b["type_scores"], abs=1e-6)


@pytest.mark.slow
def test_two_real_processes_make_the_output_of_one(predict, expected, tmp_path, model_folder):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(ROOT / "predict_finener.py")]
    options = [
        "--model",
        str(model_folder),
        "--input",
        str(tmp_path / "in.jsonl"),
        "--output",
        str(tmp_path / "two.jsonl"),
    ]
    subprocess.run([*launch, *options, "--device", "cpu"], check=True, timeout=300)
    found = [json.loads(line) for line in (tmp_path / "two.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [r["id"] for r in found] == [r["id"] for r in expected] and spans(found) == spans(expected)
