import json
import re
from pathlib import Path

import pytest
import torch

from finener.ontology_finener import EntityType, Ontology, OntologyError
from finener.prediction.mapping import TypeMapping

ONTOLOGIES = Path(__file__).parents[1] / "ontologies"


def dag(**parents: str) -> Ontology:
    """``dag(a="", b="a", c="a b")``: types with their parents' ids."""
    return Ontology("mine", [EntityType(i, i.upper(), tuple(p.split())) for i, p in parents.items()])


def parents_of(ontology: Ontology, type_id: str) -> tuple[str, ...]:
    return ontology.types[ontology.index(type_id)].parents


def rows_of(weights: torch.Tensor, ontology: Ontology) -> dict[str, dict[str, float]]:
    return {
        ontology.ids[i]: {ontology.ids[j]: float(v) for j, v in enumerate(row) if v} for i, row in enumerate(weights)
    }


def scores_of(ontology: Ontology, **scores: float) -> torch.Tensor:
    """One mention's scores, (1, C); types that are not named score 0."""
    row = torch.zeros(1, len(ontology))
    for type_id, score in scores.items():
        row[0, ontology.index(type_id)] = score
    return row


# -------------------------------------------------------------------- what is not an ontology


@pytest.mark.parametrize(
    ("parents", "stuck"),
    [({"a": "a"}, "'a'"), ({"root": "", "a": "root c", "b": "a", "c": "b"}, "'a', 'b', 'c'")],
)
def test_a_cycle_is_refused_and_its_types_are_named(parents, stuck):
    with pytest.raises(OntologyError, match=rf"'mine' has a cycle among \(or above\) \[{stuck}\]"):
        dag(**parents)


def test_a_missing_parent_is_named_with_the_entry_to_add():
    with pytest.raises(OntologyError, match=r"type 'team' .* has the parent 'org', which is not in the list: add it.*"):
        dag(team="org")


def test_a_doubled_id_is_named():
    with pytest.raises(OntologyError, match=r"'mine' lists these types more than once: \['b'\]"):
        Ontology("mine", [EntityType("a"), EntityType("b"), EntityType("b")])


def test_an_empty_list_is_refused():
    with pytest.raises(OntologyError, match="'mine' has no types"):
        Ontology("mine", [])


@pytest.mark.parametrize("lookup", ["index", "closure", "most_specific", "name_path", "subset"])
def test_an_unknown_type_is_answered_with_a_similar_one(source, lookup):
    argument = "musem" if lookup in ("index", "name_path") else ["musem"]
    with pytest.raises(
        OntologyError, match=r"'musem' is not a type of ontology 'src' \(10 types\); did you mean 'museum'"
    ):
        getattr(source, lookup)(argument)


def test_an_unknown_type_like_no_other_gets_no_suggestion(source):
    with pytest.raises(OntologyError) as error:
        source.index("zzzzzz")
    assert "did you mean" not in str(error.value)


# -------------------------------------------------------------------- the graph


def test_closure_follows_both_parents_in_index_order(source):
    assert source.closure(["artmuseum"]) == [
        "physical",
        "abstract",
        "organization",
        "place",
        "building",
        "museum",
        "artmuseum",
    ]
    assert source.closure(["artist", "company"]) == [
        "physical",
        "abstract",
        "person",
        "artist",
        "organization",
        "company",
    ]
    assert source.closure([]) == []


def test_depth_is_the_longest_way_from_a_root(source):
    depths = dict(zip(source.ids, source.depths, strict=True))
    assert depths["organization"] == 1
    assert depths["museum"] == 3, "through building, not through organization"
    assert depths["artmuseum"] == 4


def test_roots_children_and_edges_of_the_two_parent_type(source):
    ids = source.ids
    assert [ids[i] for i in source.roots] == ["physical", "abstract"]
    assert [ids[i] for i in source.children[source.index("organization")]] == ["museum", "company"]
    edges = {(ids[c], ids[p]) for c, p in source.edges}
    assert {("museum", "building"), ("museum", "organization"), ("building", "place")} < edges and len(edges) == 9


def test_edges_settle_a_parent_before_its_children_whatever_the_order_of_the_types():
    ontology = dag(d="c a", c="b", b="a", a="")
    assert [(ontology.ids[c], ontology.ids[p]) for c, p in ontology.edges] == [
        ("b", "a"),
        ("c", "b"),
        ("d", "c"),
        ("d", "a"),
    ]
    capped = ontology.cap_by_parents(torch.tensor([[0.9, 0.8, 0.3, 0.5]]))
    assert capped.tolist() == [pytest.approx([0.3, 0.3, 0.3, 0.5])]
    mapping = TypeMapping(ontology, ontology, [("d", "d", 1.0)])
    assert mapping.scores(torch.tensor([[0.7, 0.0, 0.0, 0.0]])).tolist() == [pytest.approx([0.7] * 4)]


def test_most_specific_drops_every_ancestor_of_another_given_type(source):
    assert source.most_specific(["organization", "museum", "physical", "person"]) == ["person", "museum"]
    assert source.most_specific(source.closure(["artmuseum"])) == ["artmuseum"]
    assert source.most_specific([]) == []


def test_steps_up_counts_the_shortest_way():
    ontology = dag(a="", b="a", c="b a")
    assert ontology.steps_up(2) == {2: 0, 1: 1, 0: 1}
    assert ontology.depths == (0, 1, 2)


def test_a_parent_named_twice_is_one_edge():
    assert dag(a="", b="a a").edges == [(1, 0)]


def test_name_path_joins_the_labels_of_the_type_and_its_parents(source):
    assert source.name_path("museum") == "museum, building, organization"
    assert dag(a="").name_path("a") == "A"


# -------------------------------------------------------------------- the soft loss's W


def test_soft_label_weights_of_the_tree_by_hand(target):
    assert rows_of(target.soft_label_weights(0.5), target) == {
        "per": {"per": 1.0},
        "per.artist": {"per": 0.5},
        "per.artist.painter": {"per.artist.painter": 1.0, "per": 0.25},
        "per.artist.singer": {"per.artist.singer": 1.0, "per": 0.25},
        "per.politician": {"per.politician": 1.0, "per": 0.5},
        "org": {"org": 1.0},
        "org.company": {"org.company": 1.0, "org": 0.5},
        "loc": {"loc": 1.0},
        "loc.city": {"loc.city": 1.0, "loc": 0.5},
        "loc.city.capital": {"loc.city.capital": 1.0, "loc.city": 0.5, "loc": 0.25},
    }


def test_soft_label_weights_take_the_shortest_way_up_a_dag():
    ontology = dag(a="", b="a", c="b a")
    assert rows_of(ontology.soft_label_weights(0.1), ontology)["c"] == pytest.approx({"a": 0.1, "b": 0.1, "c": 1.0})


def test_the_column_of_a_type_that_is_not_assignable_is_zero(target):
    assert not target.soft_label_weights(0.9)[:, target.index("per.artist")].any()


def test_a_row_without_any_credit_keeps_its_diagonal():
    ontology = Ontology("mine", [EntityType("a", assignable=False), EntityType("b", parents=("a",))])
    assert ontology.soft_label_weights(0.5).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_decay_zero_is_the_identity(source, target):
    for ontology in (source, target):
        assert torch.equal(ontology.soft_label_weights(0.0), torch.eye(len(ontology)))


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_out_of_range_is_refused(target, decay):
    with pytest.raises(OntologyError, match=rf"decay must lie in \[0, 1\], got {decay}"):
        target.soft_label_weights(decay)


# -------------------------------------------------------------------- coherent scores


def test_cap_by_parents_by_hand(source):
    scores = scores_of(
        source, physical=0.9, place=0.4, building=0.8, museum=0.7, artmuseum=0.95, abstract=0.3, organization=0.5
    )
    given = scores.clone()
    capped = dict(zip(source.ids, source.cap_by_parents(scores)[0].tolist(), strict=True))
    expected = {"physical": 0.9, "place": 0.4, "building": 0.4, "abstract": 0.3, "organization": 0.3}
    expected |= {"museum": 0.3, "artmuseum": 0.3, "person": 0.0, "artist": 0.0, "company": 0.0}
    assert capped == pytest.approx(expected)
    assert torch.equal(scores, given), "the argument is left alone"


def test_sum_over_subtrees_by_hand(target):
    probabilities = scores_of(
        target, **{"per": 0.1, "per.artist.painter": 0.2, "per.artist.singer": 0.3, "loc.city.capital": 0.4}
    )
    sums = dict(zip(target.ids, target.sum_over_subtrees(probabilities)[0].tolist(), strict=True))
    expected = {"per": 0.6, "per.artist": 0.5, "per.artist.painter": 0.2, "per.artist.singer": 0.3}
    expected |= {"per.politician": 0.0, "org": 0.0, "org.company": 0.0}
    expected |= {"loc": 0.4, "loc.city": 0.4, "loc.city.capital": 0.4}
    assert sums == pytest.approx(expected)


def test_sum_over_subtrees_counts_a_type_once_for_each_ancestor_even_where_two_paths_meet():
    ontology = dag(a="", b="a", c="a", d="b c")
    assert ontology.sum_over_subtrees(torch.tensor([[0.1, 0.2, 0.3, 0.4]])).tolist() == [
        pytest.approx([1.0, 0.6, 0.7, 0.4])
    ]


def test_coherent_scores_of_no_mentions_are_empty(source):
    none = torch.zeros(0, len(source))
    assert source.cap_by_parents(none).shape == source.sum_over_subtrees(none).shape == (0, len(source))


def several(ontology, scores, threshold):
    return ontology.named_scores(scores, ontology.choose_several(scores, threshold))


def path(ontology, scores, best, threshold):
    best = torch.tensor([ontology.index(best)])
    return ontology.named_scores(scores, ontology.choose_paths(scores, best, threshold))[0]


def test_choosing_several_takes_what_passes_and_otherwise_the_best_path(source):
    passing = scores_of(source, physical=0.9, place=0.6, building=0.5, abstract=0.2)
    failing = scores_of(source, physical=0.2, place=0.2, building=0.2, abstract=0.1)
    chosen = several(source, torch.cat([passing, failing]), 0.5)
    assert chosen[0] == pytest.approx({"physical": 0.9, "place": 0.6, "building": 0.5})
    assert chosen[1] == pytest.approx({"physical": 0.2, "place": 0.2, "building": 0.2}), "a tie goes to the deepest"


def test_choosing_several_gives_a_type_that_is_not_assignable_only_above_one_that_is(target):
    passing = scores_of(target, **{"per": 0.9, "per.artist": 0.8, "per.artist.painter": 0.7})
    alone = scores_of(target, **{"per": 0.9, "per.artist": 0.8, "per.artist.painter": 0.1})
    failing = scores_of(target, **{"per": 0.3, "per.artist": 0.3, "loc": 0.2})
    chosen = several(target, torch.cat([passing, alone, failing]), 0.5)
    assert chosen[0] == pytest.approx({"per": 0.9, "per.artist": 0.8, "per.artist.painter": 0.7})
    assert chosen[1] == pytest.approx({"per": 0.9})
    assert chosen[2] == pytest.approx({"per": 0.3})


def test_choosing_a_path_drops_what_is_below_the_threshold_but_never_the_root(target):
    scores = scores_of(target, **{"loc": 0.4, "loc.city": 0.35, "loc.city.capital": 0.3})
    assert path(target, scores, "loc.city.capital", 0.0) == pytest.approx(
        {"loc": 0.4, "loc.city": 0.35, "loc.city.capital": 0.3}
    )
    assert path(target, scores, "loc.city.capital", 0.33) == pytest.approx({"loc": 0.4, "loc.city": 0.35})
    assert path(target, scores, "loc.city.capital", 0.9) == pytest.approx({"loc": 0.4})


def test_choosing_a_path_does_not_end_at_a_type_that_is_not_assignable(target):
    scores = scores_of(target, **{"per": 0.9, "per.artist": 0.6, "per.artist.painter": 0.3})
    assert path(target, scores, "per.artist.painter", 0.5) == pytest.approx({"per": 0.9})
    assert list(path(target, scores, "per.artist.painter", 0.3)) == ["per", "per.artist", "per.artist.painter"]


def test_thresholds_go_from_the_type_to_its_level_to_the_default(target):
    least = target.thresholds({"default": 0.5, "levels": [0.9, 0.4], "types": {"loc.city": 0.1}})
    found = {
        t: round(least[target.index(t)].item(), 3) for t in ("per", "loc", "loc.city", "per.artist", "loc.city.capital")
    }
    assert found == {"per": 0.9, "loc": 0.9, "loc.city": 0.1, "per.artist": 0.4, "loc.city.capital": 0.5}
    assert target.thresholds(0.25).tolist() == [0.25] * len(target)


def test_each_type_is_held_against_its_own_threshold(source, target):
    scores = scores_of(source, physical=0.9, place=0.6, building=0.5, abstract=0.2)
    by_type = {"default": 0.7, "types": {"building": 0.45, "place": 0.65}}
    assert list(several(source, scores, by_type)[0]) == list(source.closure(["building"]))
    scores = scores_of(target, **{"loc": 0.4, "loc.city": 0.35, "loc.city.capital": 0.3})
    by_level = {"default": 0.9, "levels": [0.9, 0.3, 0.31]}
    assert list(path(target, scores, "loc.city.capital", by_level)) == ["loc", "loc.city"]


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (1.5, r"thresholds must lie in \[0, 1\]; got 1.5"),
        ({"levels": [0.5]}, "expected a number or the keys default, levels and types"),
        ({"default": 0.5, "type": {}}, "expected a number or the keys default, levels and types"),
        ({"default": 0.5, "levels": [0.1] * 4}, "expected a list of at most 3 levels"),
        ({"default": 0.5, "types": {"pre": 0.5}}, "pre.*per"),
        ({"default": 0.5, "types": {"per": True}}, "thresholds must lie in"),
    ],
)
def test_bad_thresholds_say_what_is_expected(target, threshold, message):
    with pytest.raises(OntologyError, match=message):
        target.thresholds(threshold)


# -------------------------------------------------------------------- parts of an ontology


def test_a_subset_contracts_paths_through_what_is_left_out(source):
    part = source.subset(["physical", "abstract", "place", "artmuseum"], "part")
    assert part.name == "part" and part.ids == ("physical", "abstract", "place", "artmuseum")
    assert parents_of(part, "artmuseum") == ("abstract", "place"), "both ways up, contracted"
    assert [part.ids[i] for i in part.roots] == ["physical", "abstract"], "no false root"


def test_a_subset_has_no_redundant_edge():
    ontology = dag(a="", b="a", c="a", d="b c")
    assert parents_of(ontology.subset(["a", "b", "d"]), "d") == ("b",), "a is above b already"
    assert parents_of(ontology.subset(["a", "d"]), "d") == ("a",)
    assert parents_of(ontology.subset(["b", "d"]), "d") == ("b",)


def test_a_subset_keeps_labels_and_what_is_not_assignable(target):
    part = target.subset(["per", "per.artist", "per.artist.painter"])
    assert part.types == tuple(target.types[i] for i in range(3))


# -------------------------------------------------------------------- files


def test_json_round_trip_keeps_everything(tmp_path, target):
    ontology = Ontology("ünï", [*target.types, EntityType("x", "ein „Wort“", description="what it is")], "by hand")
    ontology.to_json(tmp_path / "o.json")
    again = Ontology.from_json(tmp_path / "o.json")
    assert (again.name, again.source, again.types) == (ontology.name, ontology.source, ontology.types)
    assert again.digest == ontology.digest


def test_json_has_one_type_a_line(tmp_path, source):
    source.to_json(tmp_path / "o.json")
    assert len((tmp_path / "o.json").read_text(encoding="utf-8").splitlines()) == len(source) + 2


def test_tsv_round_trip_keeps_ids_labels_and_both_parents(tmp_path, source):
    source.to_tsv(tmp_path / "src.tsv")
    again = Ontology.from_tsv(tmp_path / "src.tsv")
    assert (again.name, again.types, again.digest) == ("src", source.types, source.digest)


def test_tsv_round_trip_keeps_what_may_not_be_assigned(tmp_path, target):
    target.to_tsv(tmp_path / "tgt.tsv")
    assert Ontology.from_tsv(tmp_path / "tgt.tsv").types == target.types


def test_the_digest_tells_parents_order_and_assignability_apart_but_not_labels(target):
    def digest(**changes) -> str:
        types = [EntityType(**{**vars(t), **changes}) if t.id == "loc.city" else t for t in target.types]
        return Ontology("other name", types).digest

    assert digest() == digest(label="town") == target.digest
    assert len({target.digest, digest(parents=("org",)), digest(assignable=False)}) == 3
    assert Ontology("tgt", reversed(target.types)).digest != target.digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"name": "x",\n "types": [}', r"is not JSON: .*line 2"),
        ("[]", r"an ontology file holds"),
        ('{"types": [{"id": "a"}]}', r"an ontology file holds"),
        ('{"name": "x", "types": []}', r"'x' has no types"),
        ('{"name": "x", "types": [{"label": "a"}]}', r"type {'label': 'a'} has no id"),
        ('{"name": "x", "types": [{"id": "a", "parent": "b"}]}', r"type 'a' has unknown keys \['parent'\]"),
        ('{"name": "x", "types": [{"id": "a", "parents": "b"}]}', r"type 'a': parents must be a list of ids, got 'b'"),
        ('{"name": "x", "types": [{"id": "a", "parents": [["b"]]}]}', r"type 'a': parents must be a list of ids"),
        ('{"name": "x", "types": [{"id": "a", "parents": ["b"]}]}', r"type 'a' .* has the parent 'b'"),
    ],
)
def test_a_bad_json_file_is_named_with_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OntologyError, match=rf"bad\.json.*{message}"):
        Ontology.from_json(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"bad\.tsv:1: expected a header"),
        ("label\tparents\nA\t\n", r"bad\.tsv:1: expected a header with the columns id, label, parents"),
        ("id\tparent\nb\ta\n", r"bad\.tsv:1: expected a header .* got 'id\\tparent'"),
        ("id\tlabel\na\tA\tx\n", r"bad\.tsv:2: expected at most 2 cells"),
        ("id\tassignable\na\tperhaps\n", r"bad\.tsv:2: assignable must be yes or no, got 'perhaps'"),
        ("id\tlabel\na\tA\n\n\tB\n", r"bad\.tsv:4: a type without an id"),
        ("label\tid\nA\ta\nB\n", r"bad\.tsv:3: a type without an id: 'B'"),
        ("id\tlabel\tparents\na\tA\t\nb\tB\tc\n", r"bad\.tsv: type 'b' .* has the parent 'c'"),
        ("id\na\na\n", r"bad\.tsv: .*more than once: \['a'\]"),
    ],
)
def test_a_bad_tsv_file_is_named_with_the_line_of_a_bad_row(tmp_path, content, message):
    path = tmp_path / "bad.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OntologyError, match=message):
        Ontology.from_tsv(path)


@pytest.mark.parametrize("read", [Ontology.from_json, Ontology.from_tsv])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(OntologyError, match=r"no ontology file at .*nowhere\.x"):
        read(tmp_path / "nowhere.x")


# -------------------------------------------------------------------- mappings


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


# -------------------------------------------------------------------- the type systems of this project


@pytest.fixture(scope="module")
def yago() -> Ontology:
    return Ontology.from_json(ONTOLOGIES / "yago.json")  # a cycle would be refused


@pytest.fixture(scope="module")
def aida() -> Ontology:
    return Ontology.from_json(ONTOLOGIES / "aida.json")


def test_yago_has_wordnets_three_roots_and_the_papers_number_of_types(yago):
    assert len(yago) >= 7309
    assert [i for i in yago.ids if not re.search(r"\D1\d{8}$", i)] == []
    assert {yago.ids[i] for i in yago.roots} == {
        "PhysicalEntity100001930",
        "Abstraction100002137",
        "Thing104424418",
    }
    assert all(t.label and t.assignable for t in yago.types)


def test_yago_tells_the_two_houses_apart_by_their_roots(yago):
    building, dynasty = (yago.closure([i]) for i in ("House103544360", "House107971449"))
    assert "PhysicalEntity100001930" in building and "Abstraction100002137" not in building
    assert "Abstraction100002137" in dynasty and "PhysicalEntity100001930" not in dynasty


def test_yago_has_no_redundant_edge(yago):
    redundant = [
        (yago.ids[c], yago.ids[p])
        for c, p in yago.edges
        if any(p in yago.ancestors[other] for other in yago.parents[c])
    ]
    assert redundant == []


def test_aida_has_187_types_and_the_22_parents_created_above_them(aida):
    assert sum(aida.assignable) == 187
    assert [t.id for t in aida.types if not t.assignable and not aida.children[aida.index(t.id)]] == []
    assert len(aida) - sum(aida.assignable) == 22
    assert len(aida.roots) == 16
    assert max(aida.depths) + 1 == 3
    assert all(t.parents == (() if "." not in t.id else (t.id.rpartition(".")[0],)) for t in aida.types)


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


def test_the_gazetteer_holds_wordnets_instances_with_classes_that_exist(yago):
    lines = (ONTOLOGIES / "yago_gazetteer.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    assert {len(row) for row in rows} == {3} and all(name.strip() == name != "" for name, _, _ in rows)
    assert len({synset for _, synset, _ in rows}) == 7730
    assert {c for _, _, classes in rows for c in classes.split("|")} <= set(yago.ids)


def test_the_ontology_files_are_what_to_json_writes(tmp_path, yago, aida):
    for ontology in (yago, aida):
        ontology.to_json(tmp_path / "again.json")
        written = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
        assert written == json.loads((ONTOLOGIES / f"{ontology.name}.json").read_text(encoding="utf-8"))
