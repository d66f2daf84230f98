"""Decoding in numpy says what decoding in torch says."""

import numpy as np
import pytest
import torch

from finener.decoding_finener import TypeDecoder, read_threshold
from finener.layers_finener import LinearChainCRF, decay_rows, pool_mentions, spans_of_tags, sparse_rows
from finener.numpy_finener import Crf, TypeChooser
from finener.numpy_finener import pool_mentions as pool_in_numpy
from finener.ontology_finener import Ontology
from finener.paths import ROOT

import tiny

ONTOLOGIES = {
    "two parents": tiny.two_parent_ontology(),
    "not assignable": tiny.target_ontology(),
    "aida": Ontology.from_json(ROOT / "ontologies" / "aida.json"),
}
THRESHOLDS = (0.5, 0.1, {"default": 0.5, "levels": [0.7, 0.3]})


@pytest.fixture(scope="module")
def batch():
    """Emissions (B, W, 3) and masks of records from no words to 17, and a CRF."""
    torch.manual_seed(0)
    lengths = torch.tensor([17, 1, 0, 5, 16, 2])
    mask = torch.arange(17) < lengths[:, None]
    crf = LinearChainCRF()
    for scores in crf.parameters():
        torch.nn.init.normal_(scores)
    emissions = torch.randn(len(lengths), 17, 3) * 2
    emissions[:, :, 1] += 1  # many mentions begin
    return crf.requires_grad_(False), emissions, mask


def test_tags_and_span_probabilities_are_those_of_the_crf(batch):
    crf, emissions, mask = batch
    own = Crf(*(scores.tolist() for scores in crf.scores()))
    spans = own.decode(emissions.numpy(), mask.numpy())
    expected = spans_of_tags(crf.decode(emissions, mask))
    assert len(spans) > 8 and (spans[:, 2] - spans[:, 1]).max() > 1
    assert spans.tolist() == expected.tolist()
    some = torch.tensor([[0, 3, 4], [0, 2, 9], [0, 10, 17], [1, 0, 1], [3, 0, 5], [4, 15, 16], [5, 1, 2]])
    for asked in (expected, some):
        found = own.span_probabilities(emissions.numpy(), mask.numpy(), asked.numpy())
        np.testing.assert_allclose(found, crf.span_probabilities(emissions, mask, asked).numpy(), rtol=1e-5)
    assert pool_in_numpy(emissions.numpy(), spans) == pytest.approx(
        pool_mentions(expected, emissions).numpy(), abs=1e-6
    )


@pytest.mark.parametrize("name", list(ONTOLOGIES))
@pytest.mark.parametrize("threshold", THRESHOLDS, ids=str)
@pytest.mark.parametrize("way", ["sigmoid", "best", "expected"])
def test_types_are_those_of_the_type_decoder(name, threshold, way):
    ontology = ONTOLOGIES[name]
    how, credit = {"one_type": way != "sigmoid"}, None
    if way == "expected":
        credit = decay_rows(ontology, 0.5)
        how["credit"] = sparse_rows(credit, len(ontology))
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(60, len(ontology), generator=draw) * 3
    logits[30:] -= 8  # of these no type passes
    if way != "sigmoid":
        logits[:, ~torch.tensor(ontology.assignable)] = -1e4
    decoder = TypeDecoder(ontology, torch.device("cpu"))
    default, levels, types = read_threshold(threshold, ontology)
    chooser = TypeChooser(ontology, {"default": default, "levels": levels, "types": types}, how["one_type"], credit)
    expected = decoder.named(decoder.choose(logits, threshold, **how))
    found = [chooser.choose(row) for row in logits.numpy()]
    assert [list(types) for types in found] == [list(types) for types in expected]
    assert [v for types in found for v in types.values()] == pytest.approx(
        [v for types in expected for v in types.values()], abs=1e-6
    )
    assert len({tuple(types) for types in found}) > 3


def test_one_threshold_takes_the_place_of_the_heads():
    chooser = TypeChooser(tiny.two_parent_ontology(), {"default": 0.9, "levels": [], "types": {"company": 0.1}})
    logits = np.full(10, -5.0, np.float32)
    logits[[0, 1, 2, 4, 9]] = 1.0  # physical, abstract, person, organization, company: .73 each
    assert list(chooser.choose(logits)) == ["abstract", "organization", "company"]
    assert list(chooser.choose(logits, 0.7)) == ["physical", "abstract", "person", "organization", "company"]
