"""The graph of types: what is refused, look-ups, the soft loss's W, parts."""

import itertools

import pytest
import torch

from finener.ontology_finener import EntityType, Ontology, OntologyError

from dense_decoding import random_dag


def dag(**parents: str) -> Ontology:
    """``dag(a="", b="a", c="a b")``: types with their parents' ids."""
    return Ontology("mine", [EntityType(i, i.upper(), tuple(p.split())) for i, p in parents.items()])


def parents_of(ontology: Ontology, type_id: str) -> tuple[str, ...]:
    return ontology.types[ontology.index(type_id)].parents


def rows_of(weights: torch.Tensor, ontology: Ontology) -> dict[str, dict[str, float]]:
    return {
        ontology.ids[i]: {ontology.ids[j]: float(v) for j, v in enumerate(row) if v} for i, row in enumerate(weights)
    }


# -------------------------------------------------------------------- what is not an ontology


@pytest.mark.parametrize(
    ("parents", "stuck"),
    [({"a": "a"}, "'a'"), ({"root": "", "a": "root c", "b": "a", "c": "b"}, "'a', 'b', 'c'")],
)
def test_a_cycle_is_refused_and_its_types_are_named(parents, stuck):
    with pytest.raises(OntologyError, match=rf"'mine' has a cycle among \(or above\) \[{stuck}\]"):
        dag(**parents)


def test_of_a_large_cycle_five_types_are_named():
    with pytest.raises(OntologyError, match=r"\['a', 'b', 'c', 'd', 'e'\]: a type"):
        dag(a="g", b="a", c="b", d="c", e="d", f="e", g="f")


def test_a_thousand_levels_are_the_most():
    def chain(levels: int) -> Ontology:
        return Ontology("mine", [EntityType(str(i), parents=(str(i - 1),) if i else ()) for i in range(levels)])

    assert max(chain(1000).depths) == 999
    with pytest.raises(OntologyError, match="'mine' has 1,001 levels, down to '1000'; expected at most 1,000"):
        chain(1001)


def test_a_missing_parent_is_named_with_the_entry_to_add():
    with pytest.raises(OntologyError, match=r"type 'team' .* has the parent 'org', which is not in the list: add it.*"):
        dag(team="org")


def test_a_doubled_id_is_named():
    with pytest.raises(OntologyError, match=r"'mine' lists these types more than once: \['b'\]"):
        Ontology("mine", [EntityType("a"), EntityType("b"), EntityType("b")])


class CountedId(str):
    """An id that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        CountedId.compared += 1
        return str.__eq__(self, other)


def test_many_doubled_ids_are_found_with_a_few_comparisons_each():
    ids = [CountedId(f"t{i % 2000}") for i in range(4000)]
    with pytest.raises(OntologyError, match=r"more than once: \['t0', 't1', 't10', 't100', 't1000'\]"):
        Ontology("mine", map(EntityType, ids))
    assert CountedId.compared < 10 * len(ids)


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


def test_of_similar_types_three_are_named():
    with pytest.raises(OntologyError, match=r"; did you mean 'team\d' or 'team\d' or 'team\d'\?$"):
        dag(team1="", team2="", team3="", team4="").index("team")


def test_whether_a_type_is_there(source):
    assert "museum" in source and "musem" not in source


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


def below(ontology: Ontology, i: int) -> set[int]:
    return {i}.union(*(below(ontology, child) for child in ontology.children[i]))


@pytest.mark.parametrize("seed", range(6))
def test_the_types_below_a_type_stand_in_runs_no_two_of_which_touch(seed):
    ontology = random_dag(25, seed)
    order, runs = ontology.subtree_runs
    assert sorted(order) == list(range(25))
    for i in range(25):
        assert {j for start, stop in runs[i] for j in order[start:stop]} == below(ontology, i)
        assert all(start < stop for start, stop in runs[i])
        assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(runs[i]))
    assert any(len(of_type) > 1 for of_type in runs)


def test_in_a_tree_each_type_has_one_run(target):
    assert [len(of_type) for of_type in target.subtree_runs[1]] == [1] * len(target)


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


def test_an_ancestor_earns_half_for_each_edge_unless_told(target):
    assert torch.equal(target.soft_label_weights(), target.soft_label_weights(0.5))
    assert all(map(torch.equal, target.soft_label_rows(), target.soft_label_rows(0.5)))


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


@pytest.mark.parametrize("decay", [0, 0.0, 0.3, 1])
def test_the_rows_of_w_are_its_credits_in_order_without_zeros(decay):
    ontology = random_dag(30, 3)
    gold, predicted, credit = ontology.soft_label_rows(decay)
    expected = torch.zeros(len(ontology), len(ontology))
    for i in range(len(ontology)):
        for j, steps in ontology.steps_up(i).items():
            expected[i, j] = decay**steps if ontology.assignable[j] else 0.0
        if not expected[i].any():
            expected[i, i] = 1.0
    assert torch.equal(torch.stack([gold, predicted], 1), expected.nonzero())
    assert torch.equal(credit, expected[gold, predicted]) and credit.dtype == torch.float32
    assert torch.equal(ontology.soft_label_weights(decay), expected)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_out_of_range_is_refused(target, decay):
    with pytest.raises(OntologyError, match=rf"decay must lie in \[0, 1\], got {decay}"):
        target.soft_label_weights(decay)


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
