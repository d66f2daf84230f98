"""What `make quickstart` left in outputs/: skipped until it has run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "outputs" / "quickstart"
SILVER_REPORT = ROOT / "outputs" / "silver" / "report.json"

pytestmark = pytest.mark.skipif(
    not (MODEL / "results.json").is_file(), reason="run `make quickstart` first: it trains this model"
)

FRESH_PROCESS = """
import json, sys
from transformers import AutoModel, AutoModelForTokenClassification, pipeline
loaded = []
for auto in (AutoModel, AutoModelForTokenClassification):
    model, info = auto.from_pretrained(sys.argv[1], trust_remote_code=True, output_loading_info=True)
    loaded.append({key: sorted(map(str, value)) for key, value in info.items()})
ner = pipeline("token-classification", model=sys.argv[1], trust_remote_code=True)
print(json.dumps([loaded, ner("Angela Merkel visited the Statue of Liberty in New York.")]))
"""


def test_a_fresh_process_outside_the_repo_loads_every_weight_and_finds_the_names(tmp_path):
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, str(MODEL)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded, mentions = json.loads(done.stdout.splitlines()[-1])
    empty = {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}
    for info in loaded:
        assert info == empty
    found = {m["word"]: m for m in mentions}
    assert {"Angela Merkel", "New York"} <= found.keys()
    for mention in found.values():
        assert {"start", "end", "word", "score", "entity_group", "types"} <= mention.keys()
        assert mention["entity_group"] in mention["types"]


def test_silver_is_as_large_as_promised():
    report = json.loads(SILVER_REPORT.read_text(encoding="utf-8"))
    assert report["sentences"] >= 15_000
    assert report["sentences with a mention"] >= 6_500
    assert report["mentions by origin"]["link"] >= 2_500
    assert report["mentions"] >= 9_000
    assert report["types with ancestors"] >= 690


def test_detection_on_the_samples_test_part_is_no_worse_than_the_prototype():
    results = json.loads((MODEL / "results.json").read_text(encoding="utf-8"))
    assert results["test"]["fine-tuned"]["mention_f1"] >= 0.76


def test_the_type_head_ranks_the_sense_that_the_context_asks_for_higher_in_most_pairs(capsys):
    from finener.prediction.records import load_pipeline

    pipe = load_pipeline(str(MODEL))
    ontology = pipe.model.config.ontology
    right = []
    for line in (ROOT / "tests" / "sense_pairs.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        start = case["text"].index(case["mention"])
        scores = {}

        def all_scores(model, output, scores=scores):
            scores["row"] = model.source_scores(output.type_logits)[0]
            return [{ontology.ids[0]: 1.0}]

        all_scores.ontology = ontology
        pipe(case["text"], mentions=[(start, start + len(case["mention"]))], head=all_scores)
        right.append(bool(scores["row"][ontology.index(case["right"])] > scores["row"][ontology.index(case["wrong"])]))
    with capsys.disabled():
        print(f"\nsenses: the right one ranks higher in {sum(right)} of {len(right)} sentences")
    assert sum(right) > len(right) / 2
