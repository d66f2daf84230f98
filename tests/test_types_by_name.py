"""Types by name: types that the model was never trained on, given with the text."""

from __future__ import annotations

import pytest
import torch

from finener import naming_finener
from finener.naming_finener import (
    EVEN,
    LEAST_SHARE,
    SURPRISE,
    NamedTypes,
    SourceNames,
    check_script,
    names_of,
    ontology_of_names,
)
from finener.ontology_finener import EntityType, Ontology, OntologyError
from finener.pipeline_finener import FinenerPipeline

import tiny

TEXTS = list(tiny.GOLD)
NAMES = ["painter", "artist", "city"]


@pytest.fixture
def pipe(model, tokenizer) -> FinenerPipeline:
    return FinenerPipeline(model=model, tokenizer=tokenizer)


def source_scores(source: SourceNames, **scores: float) -> torch.Tensor:
    """One mention's scores of the source types, (1, C)."""
    row = torch.zeros(1, len(source.ontology))
    for name, score in scores.items():
        row[0, source.ontology.index(name)] = score
    return row


def test_the_mentions_are_those_of_detection_and_have_types_that_were_given(pipe):
    found, named = pipe(TEXTS), pipe(TEXTS, types=NAMES, type_threshold=0.0)
    spans = [[(m["start"], m["end"], m["score"]) for m in of_text] for of_text in found]
    assert [[(m["start"], m["end"], m["score"]) for m in of_text] for of_text in named] == spans
    assert any(spans) and {t for of_text in named for m in of_text for t in m["types"]} <= set(NAMES)
    assert all(m["entity_group"] in NAMES and 0 <= m["types"][m["entity_group"]] <= 1 for row in named for m in row)
    alone = pipe(TEXTS[0], types=NAMES, type_threshold=0.0)
    assert [m["types"] for m in alone] == [pytest.approx(m["types"], abs=1e-5) for m in named[0]]
    for one, other in zip(pipe(iter(TEXTS), types=NAMES, type_threshold=0.0, batch_size=1), named, strict=True):
        assert [m["types"] for m in one] == [pytest.approx(m["types"], abs=1e-5) for m in other]


def test_a_mention_of_none_of_the_types_is_left_out_but_never_a_given_one(pipe):
    text, given = TEXTS[0], [(23, 34), (0, 11)]
    scores = [m["types"][m["entity_group"]] for m in pipe(text, types=NAMES, mentions=given)]
    assert [(m["start"], m["end"]) for m in pipe(text, types=NAMES, mentions=given)] == given
    assert pipe(text, types=NAMES, type_threshold=1.0) == []
    assert len(pipe(text, types=NAMES, mentions=given, type_threshold=sum(scores) / 2)) == 1


def test_types_are_closed_under_the_ancestors_of_the_ontology_and_those_never_score_lower(pipe):
    target = tiny.target_ontology()
    for mention in (m for text in TEXTS for m in pipe(text, types=target, type_threshold=0.0)):
        types = mention["types"]
        assert target.assignable[target.index(mention["entity_group"])]
        assert set(target.closure(types)) == set(types)
        for name, parents in ((target.ids[i], target.parents[i]) for i in map(target.index, types)):
            assert all(types[target.ids[parent]] >= types[name] for parent in parents)


def test_the_class_of_the_same_name_vouches_by_its_surprise(model, tokenizer, monkeypatch):
    monkeypatch.setattr(naming_finener, "NEAREST", 1)
    with torch.no_grad():
        model.type_head.score.bias.copy_(torch.linspace(-6, 1, 10))
    source = SourceNames(model, tokenizer)
    named = NamedTypes(source, ontology_of_names(["company", "building"]))
    share = model.type_head.score.bias[source.ontology.index("company")].sigmoid().item()
    surprise = 0.4 / share**SURPRISE
    scores = named.scores(source_scores(source, company=0.4, building=0.0))
    torch.testing.assert_close(scores, torch.tensor([[surprise / (surprise + EVEN), 0.0]]))


def test_of_a_class_only_the_rest_counts_beside_a_type_that_is_below_it(model, tokenizer, monkeypatch):
    monkeypatch.setattr(naming_finener, "NEAREST", 1)
    with torch.no_grad():
        model.type_head.score.bias.copy_(torch.linspace(1, -4, 10))
    source = SourceNames(model, tokenizer)
    shares = {
        source.ontology.ids[i]: share for i, share in zip(source.known.tolist(), source.shares.tolist(), strict=True)
    }
    both, alone = (NamedTypes(source, ontology_of_names(n)) for n in (["physical", "artist"], ["physical"]))
    an_artist = source_scores(source, physical=1.0, person=0.9, artist=0.9)
    surprise = (1.0 - 0.9) / max(shares["physical"] - shares["artist"], LEAST_SHARE) ** SURPRISE
    assert both.scores(an_artist)[0, 0].item() == pytest.approx(surprise / (surprise + EVEN), abs=1e-5)
    assert alone.scores(an_artist)[0, 0] > 2 * both.scores(an_artist)[0, 0]
    # Below it in the types themselves nothing is taken away.
    family = Ontology("mine", [EntityType("physical"), EntityType("artist", parents=("physical",))])
    torch.testing.assert_close(NamedTypes(source, family).scores(an_artist)[:, :1], alone.scores(an_artist))


def test_classes_that_training_never_saw_do_not_vouch(model, tokenizer):
    with torch.no_grad():
        model.type_head.score.bias.fill_(-9.0)
        model.type_head.score.bias[2:5] = torch.tensor([-1.0, -2.0, -3.0])
    assert SourceNames(model, tokenizer).known.tolist() == [2, 3, 4]
    with torch.no_grad():
        model.type_head.score.bias.fill_(-1.0)
    assert SourceNames(model, tokenizer).known.tolist() == list(range(10))


def test_names_are_embedded_once_for_each_type_system_and_again_when_the_model_has_changed(pipe, monkeypatch):
    embedded, embed = [], naming_finener.embed_names
    monkeypatch.setattr(naming_finener, "embed_names", lambda *args: embedded.append(args[2]) or embed(*args))
    for _ in range(3):
        pipe(TEXTS[0], types=NAMES)
        pipe(TEXTS[0], types=NAMES, type_threshold=0.1, mentions=[(0, 5)])
    assert len(embedded) == 2 and embedded[1] == NAMES  # the source types', and these
    renamed = Ontology(
        "named", [EntityType(name, name + "s") for name in NAMES]
    )  # the same ids, and so the same digest
    pipe(TEXTS[0], types=renamed)
    assert embedded[2:] == [["painters", "artists", "citys"]]
    with torch.no_grad():
        next(pipe.model.encoder.parameters()).add_(0.1)
    pipe(TEXTS[0], types=NAMES)
    assert len(embedded) == 5


def test_names_are_embedded_without_dropout_in_a_model_that_is_in_training(model, tokenizer):
    exact = SourceNames(model, tokenizer).vectors
    model.train()
    assert torch.equal(SourceNames(model, tokenizer).vectors, exact) and model.training


def test_ten_thousand_names_are_compared_in_blocks(model, tokenizer, monkeypatch):
    monkeypatch.setattr(naming_finener, "BLOCK", 64)
    source = SourceNames(model, tokenizer)
    names = [f"type {i}" for i in range(10_000)]
    named = NamedTypes(source, ontology_of_names(names))
    assert named.matrix.shape == (10, 10_000) and named.matrix.isfinite().all()
    assert named.scores(torch.rand(3, 10)).shape == (3, 10_000)


@pytest.mark.parametrize(
    ("types", "says"),
    [
        ("astronomer", r"types='astronomer' is no type of 'src': .* a list \(types=\['astronomer'\]\)"),
        (7, "types must be a list of names or an Ontology, got 7"),
        (["a", None], "a type's name must be a string, got None"),
        ([], "there are no types to give"),
        (["a", " "], "one has no name"),
        (["Painter", "painter "], "'Painter' is given more than once"),
        (["天文学家"], "can't read the type name '天文学家'"),
        (["αστρονόμος"], "can't read the type name"),
        (["!?"], "can't read the type name"),
        (Ontology("mine", [EntityType(" ")]), "the type ' ' of ontology 'mine' has no name: give it a label"),
        (
            Ontology("mine", [EntityType("a", "x"), EntityType("b", "X")]),
            "'a' and 'b' of ontology 'mine' have the same",
        ),
    ],
)
def test_what_are_no_types_is_refused(pipe, types, says):
    with pytest.raises((TypeError, ValueError), match=says):
        pipe(TEXTS[0], types=types)


def test_arguments_that_contradict_each_other_are_refused(pipe):
    with pytest.raises(ValueError, match=r"give types or a head, not both, .*; got head='source'"):
        pipe(TEXTS[0], types=NAMES, head="source")
    with pytest.raises(ValueError, match="top_k goes with types of the model's heads"):
        pipe(TEXTS[0], types=NAMES, top_k=2)
    with pytest.raises(ValueError, match=r"type_threshold must be a number in \[0, 1\], got \{'a': 0.5\}"):
        pipe(TEXTS[0], types=NAMES, type_threshold={"a": 0.5})
    with pytest.raises(ValueError, match=r"type_threshold must be a number in \[0, 1\], got 2"):
        pipe(TEXTS[0], types=NAMES, type_threshold=2)


def test_namesakes_are_told_apart_by_their_parents_and_an_empty_label_is_the_id():
    rows = [
        ("art", "art", ()),
        ("org", "", ()),
        ("a", "music", ("art",)),
        ("b", "music", ("org",)),
        ("c", "music", ("b",)),
    ]
    types = Ontology("mine", [EntityType(*row) for row in rows])
    assert names_of(types)[:4] == ["art", "org", "music, art", "music, org"]
    line = Ontology("mine", [EntityType("gpe"), EntityType("gpe.gpe", "gpe", ("gpe",))])
    assert names_of(line) == ["gpe", "gpe"]


class CjkTokenizer:
    """Reads each Chinese character as a piece, as multilingual BERT does; ``size`` of them are in its vocabulary."""

    unk_token = "[UNK]"

    def __init__(self, size):
        self.vocab = {chr(0x4E00 + i): i for i in range(size)}

    def get_vocab(self):
        return self.vocab

    def tokenize(self, name):
        return [c if c in self.vocab else self.unk_token for c in name if not c.isspace()]


def test_chinese_names_are_read_by_an_encoder_that_knows_the_script_and_refused_by_one_that_does_not():
    check_script(["一丁"], CjkTokenizer(5000))
    with pytest.raises(OntologyError, match="can't read the type name '一丁'"):
        check_script(["一丁"], CjkTokenizer(300))
    with pytest.raises(OntologyError, match="can't read the type name '天文学家'"):
        check_script(["天文学家"], CjkTokenizer(300))
