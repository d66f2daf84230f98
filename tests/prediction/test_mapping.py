"""Tables from the types of one ontology to those of another."""

import re
from pathlib import Path

import pytest
import torch

from finener.ontology_finener import Ontology, OntologyError
from finener.prediction.mapping import TypeMapping

from dense_decoding import random_dag

ONTOLOGIES = Path(__file__).parents[2] / "ontologies"


def scores_of(ontology: Ontology, **scores: float) -> torch.Tensor:
    """One mention's scores, (1, C); types that are not named score 0."""
    row = torch.zeros(1, len(ontology))
    for type_id, score in scores.items():
        row[0, ontology.index(type_id)] = score
    return row


def test_mapping_scores_by_hand_and_a_parent_is_never_below_its_child(source, target):
    rows = [("artist", "per.artist.painter", 0.5), ("person", "per.artist.painter", 0.1), ("person", "per", 0.2)]
    mapping = TypeMapping(source, target, [*rows, ("place", "loc", 1.0), ("museum", "loc.city", 0.5)])
    scores = torch.cat(
        [scores_of(source, person=0.8, artist=0.6, place=0.3, museum=0.2), scores_of(source, person=1.0, museum=0.9)]
    )
    first, second = (dict(zip(target.ids, row, strict=True)) for row in mapping.scores(scores).tolist())
    rest = {"per.artist.singer": 0, "per.politician": 0, "org": 0, "org.company": 0, "loc.city.capital": 0}
    assert first == pytest.approx(
        {"per": 0.3, "per.artist": 0.3, "per.artist.painter": 0.3, "loc": 0.3, "loc.city": 0.1} | rest
    )
    assert second == pytest.approx(
        {"per": 0.2, "per.artist": 0.1, "per.artist.painter": 0.1, "loc": 0.45, "loc.city": 0.45} | rest
    )
    assert {target.ids[i] for i in mapping.reachable} == {"per", "per.artist", "per.artist.painter", "loc", "loc.city"}


def test_mapping_scores_of_no_mentions_or_no_rows_are_zeros(source, target):
    assert TypeMapping(source, target, [("place", "loc", 1.0)]).scores(torch.zeros(0, 10)).shape == (0, len(target))
    assert not TypeMapping(source, target, []).scores(torch.ones(2, 10)).any()


def test_mapping_scores_go_up_every_way_whatever_the_order_of_the_types():
    source, target = random_dag(20, 1), random_dag(50, 2)
    draw = torch.Generator().manual_seed(0)
    pairs = torch.randint(20, (40,), generator=draw), torch.randint(50, (40,), generator=draw)
    mapping = TypeMapping(source, target, [(source.ids[s], target.ids[t], 0.7) for s, t in zip(*pairs, strict=True)])
    scores = torch.rand(5, 20, generator=draw)
    expected = torch.zeros(5, 50)
    for s, t in zip(*(p.tolist() for p in pairs), strict=True):
        for above in target.closure_indices([t]):
            expected[:, above] = torch.maximum(expected[:, above], scores[:, s] * torch.tensor(0.7))
    assert torch.equal(mapping.scores(scores), expected)


def test_a_target_type_with_two_parents_lends_its_mean_to_both(source, target):
    means = TypeMapping(target, source, [("org", "museum", 1.0), ("loc", "place", 1.0)]).mean_weights()
    assert {source.ids[i] for i in means[:, target.index("org")].nonzero()[:, 0]} == {
        "museum",
        "building",
        "organization",
        "abstract",
    }
    assert means[source.index("physical"), target.index("loc")] == 1.0, "place speaks for itself, and for what is above"
    assert not means[source.index("artmuseum")].any(), "below a mapped type nothing is known"


def test_a_general_source_type_counts_alone_even_where_its_weight_is_the_lower(source, target):
    means = TypeMapping(source, target, [("physical", "loc", 0.2), ("place", "loc", 1.0)]).mean_weights()
    assert means[target.index("loc")].nonzero()[:, 0].tolist() == [source.index("physical")]


def test_a_target_type_is_the_mean_of_the_most_general_source_types_mapped_to_it(source, target):
    rows = [
        ("place", "loc", 1.0),
        ("building", "loc", 1.0),
        ("organization", "loc", 0.5),
        ("artist", "per.artist", 0.2),
    ]
    means = TypeMapping(source, target, rows).mean_weights()
    expected = torch.zeros(len(target), len(source))
    expected[target.index("loc"), source.index("place")] = 2 / 3  # the building is a place: it says nothing more
    expected[target.index("loc"), source.index("organization")] = 1 / 3
    expected[target.index("per.artist"), source.index("artist")] = 1.0
    expected[target.index("per"), source.index("artist")] = 1.0  # by its only child that has any
    torch.testing.assert_close(means, expected)


def test_a_mapping_file_is_read_with_comments_and_default_weights(tmp_path, source, target):
    path = tmp_path / "map.tsv"
    path.write_text("# a comment\n\nartist\tper\nplace\tloc\t0.5\n", encoding="utf-8")
    mapping = TypeMapping.from_tsv(path, source, target)
    assert mapping.pairs == [
        (source.index("artist"), target.index("per")),
        (source.index("place"), target.index("loc")),
    ]
    assert mapping.weights == [1.0, 0.5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("artist\tper\t1.5", "weight"),
        ("artist\tper\t0", "weight"),
        ("artist\tper\tnan", "weight"),
        ("artist\tper\tmuch", "could not convert"),
        ("artst\tper\t1", "did you mean 'artist'"),
        ("artist\tpers\t1", "did you mean 'per'"),
        ("artist", "index out of range"),
    ],
)
def test_a_bad_mapping_line_is_named_with_its_number(tmp_path, source, target, line, reason):
    path = tmp_path / "map.tsv"
    path.write_text(f"# a comment\nplace\tloc\t1\n{line}\n", encoding="utf-8")
    with pytest.raises(OntologyError, match=rf"map\.tsv:3: expected .*{re.escape(repr(line))}.*{reason}"):
        TypeMapping.from_tsv(path, source, target)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.1])
def test_a_bad_weight_is_named_with_its_types(source, target, weight):
    with pytest.raises(OntologyError, match=rf"artist → per has the weight {weight}"):
        TypeMapping(source, target, [("artist", "per", weight)])


# -------------------------------------------------------------------- the tables of this project


@pytest.fixture(scope="module")
def yago() -> Ontology:
    return Ontology.from_json(ONTOLOGIES / "yago.json")  # a cycle would be refused


@pytest.fixture(scope="module")
def aida() -> Ontology:
    return Ontology.from_json(ONTOLOGIES / "aida.json")


def test_the_mapping_from_yago_covers_110_of_the_187_aida_types(yago, aida):
    mapping = TypeMapping.from_tsv(ONTOLOGIES / "mappings" / "yago_to_aida.tsv", yago, aida)
    covered = {aida.ids[t] for _, t in mapping.pairs}
    assert len({t for t in covered if aida.assignable[aida.index(t)]}) >= 110
    assert len(set(mapping.pairs)) == len(mapping.pairs), "no pair has two weights"


@pytest.mark.parametrize(("name", "least"), [("figer", 90), ("fewnerd", 60), ("crossner", 30)])
def test_the_mappings_to_the_open_corpora_name_types_that_exist_and_reach_most_of_theirs(yago, name, least):
    corpus = Ontology.from_json(ONTOLOGIES / f"{name}.json")
    mapping = TypeMapping.from_tsv(ONTOLOGIES / "mappings" / f"yago_to_{name}.tsv", yago, corpus)
    assert len(mapping.reachable) >= least
    assert len(set(mapping.pairs)) == len(mapping.pairs), "no pair has two weights"


@pytest.mark.parametrize("name", ["fewnerd", "crossner"])
def test_the_mappings_of_gold_types_to_yago_name_types_that_exist(yago, name):
    corpus = Ontology.from_json(ONTOLOGIES / f"{name}.json")
    mapping = TypeMapping.from_tsv(ONTOLOGIES / "mappings" / f"{name}_to_yago.tsv", corpus, yago)
    assert len({own for own, _ in mapping.pairs}) == len(mapping.pairs) > 20, "one class for each type"
