"""The spaCy component: where mentions go in a document, batches, saving, and what a person is told."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from finener.prediction.spacy_component import FinenerComponent

import tiny
from texts import RANDOM_TEXTS

TEXTS = [text for text in tiny.GOLD if tiny.GOLD[text]]


def blank(model: Path, **config: Any) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe("finener", config={"model": str(model), "device": "cpu", **config})
    return nlp


@pytest.fixture(scope="module")
def nlp(model_folder: Path) -> Language:
    return blank(model_folder)


def mention(start: int, end: int, score: float, **types: float) -> dict[str, Any]:
    """As the pipeline gives one; the last of ``types`` is the most specific."""
    labels = {t: t.upper() for t in types}
    best = list(types)[-1]
    return {"start": start, "end": end, "score": score, "types": types, "labels": labels, "entity_group": best}


def annotated(words: str, *mentions: dict[str, Any], **settings: Any) -> Doc:
    """A document of the given tokens with the mentions written on it."""
    doc = Doc(spacy.blank("en").vocab, words=words.split())
    return FinenerComponent(model="none", **settings).annotate(doc, mentions)


def facts(doc: Doc) -> list[tuple]:
    group = doc.spans["finener"]
    return [
        *((e.start, e.end, e.label_, e._.types, e._.labels, e._.score) for e in doc.ents),
        *((s.start, s.end, s.label_, float(score)) for s, score in zip(group, group.attrs["scores"], strict=True)),
    ]


# -------------------------------------------------------------------- what a document has


def test_a_document_has_the_pipelines_mentions_and_a_span_for_each_type(nlp):
    n_entities = 0
    for text in TEXTS:
        doc, found = nlp(text), nlp.get_pipe("finener").ner(text)
        entities = [(e.text, e.label_, e._.types, e._.labels, e._.score) for e in doc.ents]
        assert entities == [(m["word"], m["entity_group"], m["types"], m["labels"], m["score"]) for m in found]
        group = doc.spans["finener"]
        pairs = [(m["word"], t, score) for m in found for t, score in m["types"].items()]
        assert [(s.text, s.label_) for s in group] == [pair[:2] for pair in pairs]
        assert group.attrs["scores"] == pytest.approx([score for *_, score in pairs])
        assert all(list(s._.types.values()) == sorted(s._.types.values(), reverse=True) for s in group)
        n_entities += len(entities)
    assert n_entities > len(TEXTS)


def test_displacy_shows_the_span_group(nlp):
    doc = nlp(TEXTS[0])
    page = spacy.displacy.render(doc, style="span", options={"spans_key": "finener"}, jupyter=False)
    assert doc.ents and all(entity.label_ in page for entity in doc.ents)


def test_a_mention_that_ends_inside_a_token_becomes_the_whole_token():
    doc = annotated("the Berlin-based firm", mention(4, 10, 0.9, loc=0.8, city=0.7))
    (entity,) = doc.ents
    assert (entity.text, entity.label_, entity._.types) == ("Berlin-based", "city", {"loc": 0.8, "city": 0.7})


def test_mentions_of_one_token_are_joined_and_none_of_their_types_is_lost():
    weak, strong = mention(0, 2, 0.6, loc=0.9, city=0.8), mention(3, 5, 0.7, loc=0.5, river=0.4)
    doc = annotated("LA/NY trains", weak, strong)
    (entity,) = doc.ents
    assert (entity.text, entity.label_, entity._.score) == ("LA/NY", "river", 0.7)
    assert list(entity._.types.items()) == [("loc", 0.9), ("city", 0.8), ("river", 0.4)]
    assert entity._.labels == {"loc": "LOC", "city": "CITY", "river": "RIVER"}
    assert [(s.text, s.label_) for s in doc.spans["finener"]] == [("LA/NY", t) for t in ("loc", "city", "river")]


def test_of_overlapping_entities_the_stronger_stays_and_the_group_has_both():
    doc = annotated("New York-London flight", mention(0, 8, 0.6, loc=0.9), mention(9, 15, 0.7, city=0.4))
    assert [(e.text, e.label_) for e in doc.ents] == [("York-London", "city")]
    assert [(s.text, s.label_) for s in doc.spans["finener"]] == [("New York-London", "loc"), ("York-London", "city")]


def test_entities_of_other_components_stay_where_no_mention_is():
    doc = Doc(spacy.blank("en").vocab, words=["Ann", "left", "New", "York"], ents=["B-PERSON", "O", "B-GPE", "I-GPE"])
    FinenerComponent(model="none").annotate(doc, [mention(9, 12, 0.9, loc=0.9)])
    assert [(e.text, e.label_) for e in doc.ents] == [("Ann", "PERSON"), ("New", "loc")]


def test_two_components_write_two_groups_and_the_entities_may_stay_as_they_are():
    doc = annotated("Ann left", mention(0, 3, 0.9, per=0.9))
    FinenerComponent(model="none", spans_key="other", set_ents=False).annotate(doc, [mention(0, 3, 0.5, star=0.3)])
    assert [s.label_ for s in doc.spans["finener"]] == ["per"]
    assert [s.label_ for s in doc.spans["other"]] == ["star"]
    assert [e.label_ for e in doc.ents] == ["per"] and doc.ents[0]._.types == {"per": 0.9, "star": 0.3}


def test_every_mention_of_odd_texts_lies_within_its_tokens(nlp):
    ner = nlp.get_pipe("finener").ner
    n_mentions = 0
    for text in RANDOM_TEXTS:
        doc = nlp(text)
        assert doc.text == text
        spans = {(s.start_char, s.end_char): s for s in doc.spans["finener"]}
        for found in ner(text):
            around = [s for (start, end), s in spans.items() if start <= found["start"] and found["end"] <= end]
            assert any(found["types"].keys() <= s._.types.keys() for s in around)
            n_mentions += 1
    assert n_mentions > 100


def test_other_spans_have_no_types(nlp):
    doc = nlp.make_doc("Nobody came.")
    assert (doc[0:1]._.types, doc[0:1]._.labels, doc[0:1]._.score) == ({}, {}, None)
    assert nlp("").ents == ()


# -------------------------------------------------------------------- batches


class Counting:
    """A pipeline that notes how many texts each call has."""

    def __init__(self, ner: Any):
        self.ner, self.calls = ner, []

    def __call__(self, texts: list[str], **arguments: Any) -> Any:
        self.calls.append(len(texts))
        return self.ner(texts, **arguments)


def test_batches_reach_the_model_and_give_what_single_texts_give(model_folder, nlp):
    batched = blank(model_folder)
    component = batched.get_pipe("finener")
    component._ner = counting = Counting(nlp.get_pipe("finener").ner)
    texts = [*TEXTS, *TEXTS[:2]]
    random.Random(0).shuffle(texts)
    docs = list(batched.pipe(texts, batch_size=2))
    assert counting.calls == [2, 2, 1]
    for doc, text in zip(docs, texts, strict=True):
        assert doc.text == text
        assert [f[:3] for f in facts(doc)] == [f[:3] for f in facts(nlp(text))]


def test_a_failing_batch_goes_to_the_error_handler(model_folder):
    nlp, failed = blank(model_folder), []
    nlp.set_error_handler(lambda name, component, docs, error: failed.append((name, [d.text for d in docs], error)))
    nlp.get_pipe("finener").arguments["nonsense"] = 1
    assert list(nlp.pipe(["a", "b"], batch_size=2)) == []
    ((name, texts, error),) = failed
    assert (name, texts) == ("finener", ["a", "b"]) and "nonsense" in str(error)


def test_arguments_are_those_of_the_calls(model_folder, nlp):
    text = TEXTS[0]
    by_head = blank(model_folder, arguments={"head": "source", "detection_threshold": 0.0})(text)
    assert {e.label_ for e in by_head.ents} <= set(tiny.two_parent_ontology().ids) and by_head.ents
    assert not {e.label_ for e in nlp(text).ents} & set(tiny.two_parent_ontology().ids)


PROCESSES = """
import json, multiprocessing, sys
import spacy, torch

def facts(doc):
    group = doc.spans["finener"]
    ents = [[e.start, e.end, e.label_, sorted(e._.types), round(e._.score, 4)] for e in doc.ents]
    return ents + [[s.start, s.end, s.label_, round(float(x), 4)] for s, x in zip(group, group.attrs["scores"], strict=True)]

if __name__ == "__main__":
    model, start, *texts = sys.argv[1:]
    torch.set_num_threads(2)
    multiprocessing.set_start_method(start)
    nlp = spacy.blank("en")
    nlp.add_pipe("finener", config={"model": model, "device": "cpu"})
    alone = [facts(doc) for doc in nlp.pipe(texts)]
    shared = [facts(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=2)]
    print(json.dumps([alone, shared]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_several_processes_give_what_one_gives(model_folder, tmp_path, start):
    (tmp_path / "processes.py").write_text(PROCESSES)
    command = [sys.executable, "processes.py", str(model_folder), start, *TEXTS * 4]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    alone, shared = json.loads(done.stdout)
    assert shared == alone and sum(map(len, alone)) > 20


# -------------------------------------------------------------------- saving


def test_a_saved_pipeline_works_without_the_model_it_was_made_of(model_folder, nlp, tmp_path):
    original = shutil.copytree(model_folder, tmp_path / "original")
    blank(original).to_disk(tmp_path / "saved")
    shutil.rmtree(original)
    loaded = spacy.load(tmp_path / "saved")
    for text in TEXTS:
        assert facts(loaded(text)) == facts(nlp(text))
    assert {"pipeline_finener.py", "ontology.json"} <= {p.name for p in (tmp_path / "saved" / "finener").iterdir()}
    shutil.rmtree(tmp_path / "saved" / "finener")
    with pytest.raises(FileNotFoundError, match=r"saved/finener: no such model folder"):
        spacy.load(tmp_path / "saved")


def test_bytes_hold_the_whole_model_and_can_be_saved_again(nlp, tmp_path):
    other = blank(tmp_path / "none").from_bytes(nlp.to_bytes())
    other.to_disk(tmp_path / "saved")
    for again in (other, spacy.load(tmp_path / "saved")):
        assert facts(again(TEXTS[0])) == facts(nlp(TEXTS[0]))


def test_the_config_can_be_written_and_read(nlp, tmp_path):
    config = nlp.config.from_str(nlp.config.to_str())
    assert config["components"]["finener"]["arguments"] == {}
    assert spacy.util.load_model_from_config(config, auto_fill=True).pipe_names == ["finener"]


def test_documents_keep_all_of_it_in_a_docbin(nlp):
    docs = list(nlp.pipe(TEXTS))
    bin_ = DocBin(store_user_data=True, docs=docs)
    again = list(DocBin().from_bytes(bin_.to_bytes()).get_docs(nlp.vocab))
    assert [facts(doc) for doc in again] == [facts(doc) for doc in docs]
    assert isinstance(again[0].spans["finener"].attrs["scores"], np.ndarray)


# -------------------------------------------------------------------- what a person is told


def test_without_a_model_the_right_call_is_shown():
    with pytest.raises(
        ValueError, match=r"'finener' has no model; expected .*add_pipe\(\"finener\", config=\{\"model\":"
    ):
        spacy.blank("en").add_pipe("finener")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"head": "both"}, "add one for each"),
        ({"mentions": []}, "it finds them"),
        ({"is_split_into_words": True}, "text"),
    ],
)
def test_arguments_that_a_component_has_no_use_for_are_told(arguments, told):
    with pytest.raises(ValueError, match=told):
        blank(Path("none"), arguments=arguments)


def test_a_model_that_is_not_there_is_told_with_the_first_text(tmp_path):
    nlp = blank(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="none: no such model folder"):
        nlp("Ann left.")


def test_the_module_costs_nothing_of_transformers_and_tells_when_spacy_is_lacking():
    listed = "import finener.prediction.spacy_component, sys; print('transformers' in sys.modules)"
    lacking = "import sys; sys.modules['spacy'] = None; import finener.prediction.spacy_component"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        for code in (listed, lacking)
    ]
    assert runs[0].stdout.strip() == "False"
    assert 'the component "finener" needs spaCy: pip install "finener[spacy]"' in runs[1].stderr.splitlines()[-1]
