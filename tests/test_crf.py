import itertools

import pytest
import torch
import torchcrf
from torch import Tensor

from finener.layers_finener import B, I, LinearChainCRF, O, spans_of_tags

LENGTHS = (5, 3, 1, 0, 2, 4) * 5  # words of each record of the batch
BEYOND = 1e3  # what stands in padding


@pytest.fixture
def crf() -> LinearChainCRF:
    """Random scores, also for what BIO forbids."""
    crf = LinearChainCRF()
    with torch.no_grad():
        for scores in crf.parameters():
            scores.copy_(torch.randn(scores.shape, generator=torch.Generator().manual_seed(1)))
    return crf


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Emissions (B, W, 3) and mask (B, W) of records of different lengths."""
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    emissions = 2 * torch.randn(*mask.shape, 3, generator=torch.Generator().manual_seed(2))
    return emissions.masked_fill(~mask[:, :, None], BEYOND), mask


def is_legal(tags: tuple[int, ...]) -> bool:
    return all(tag != I or before in (B, I) for before, tag in itertools.pairwise((O, *tags)))


def taggings(crf: LinearChainCRF, emissions: Tensor) -> dict[tuple[int, ...], float]:
    """Every legal tagging of one record, emissions (W, 3), with its score, by the definition of a CRF."""
    start, transitions, end = crf.start.tolist(), crf.transitions.tolist(), crf.end.tolist()
    rows, scores = emissions.tolist(), {}
    for tags in itertools.product((O, B, I), repeat=len(rows)):
        if is_legal(tags):
            steps = sum(transitions[a][b] for a, b in itertools.pairwise(tags))
            scores[tags] = start[tags[0]] + steps + end[tags[-1]] + sum(map(list.__getitem__, rows, tags))
    return scores


def spans_by_hand(tags: tuple[int, ...]) -> set[tuple[int, int]]:
    """First and one past the last word of each mention that legal tags mark."""
    starts = [t for t, tag in enumerate(tags) if tag == B]
    return {(s, next((t for t in range(s + 1, len(tags)) if tags[t] != I), len(tags))) for s in starts}


def log_sum(scores) -> float:
    return float(torch.tensor(list(scores), dtype=torch.float64).logsumexp(0))


def test_nll_is_that_of_enumerating_all_taggings(crf, batch):
    emissions, mask = batch
    compared = 0
    for record, length in enumerate(LENGTHS):
        if length == 0:
            continue
        scores = taggings(crf, emissions[record, :length])
        total = log_sum(scores.values())
        for tags, score in list(scores.items())[::7]:
            labels = torch.zeros(mask.shape, dtype=torch.long).masked_fill(~mask, -100)
            labels[record, :length] = torch.tensor(tags)
            assert crf.nll(emissions, labels, mask)[record].item() == pytest.approx(total - score, abs=1e-4)
            compared += 1
    assert compared > 20


def test_nll_of_a_record_without_words_is_zero(crf, batch):
    emissions, mask = batch
    assert crf.nll(emissions, torch.zeros_like(mask, dtype=torch.long), mask)[LENGTHS.index(0)].item() == 0.0


def test_nll_agrees_with_pytorch_crf(crf):
    lengths = torch.tensor([9, 1, 4, 7])
    mask = torch.arange(9) < lengths[:, None]
    generator = torch.Generator().manual_seed(3)
    emissions = torch.randn(4, 9, 3, generator=generator)
    tags = torch.randint(3, (4, 9), generator=generator)
    tags[:, 0] = tags[:, 0].clamp(max=B)
    for t in range(1, 9):  # make them legal
        tags[:, t] = torch.where((tags[:, t] == I) & (tags[:, t - 1] == O), B, tags[:, t])
    oracle = torchcrf.CRF(3, batch_first=True)
    with torch.no_grad():
        for ours, theirs in zip(
            crf.scores(), (oracle.start_transitions, oracle.transitions, oracle.end_transitions), strict=True
        ):
            theirs.copy_(ours)
    expected = -oracle(emissions, tags, mask, reduction="none")
    assert torch.allclose(crf.nll(emissions, tags, mask), expected, atol=1e-3)
    decoded = crf.decode(emissions, mask)
    assert [row[:n].tolist() for row, n in zip(decoded, lengths, strict=True)] == oracle.decode(emissions, mask)


@pytest.mark.parametrize("width", range(1, 9))
def test_nll_is_right_however_many_words_the_longest_record_has(crf, width):
    emissions = torch.randn(3, width, 3, generator=torch.Generator().manual_seed(6))
    tags = torch.full((3, width), B)
    tags[1, 0] = O
    found = crf.nll(emissions, tags, torch.ones(3, width, dtype=torch.bool))
    for record in range(3):
        scores = taggings(crf, emissions[record])
        expected = log_sum(scores.values()) - scores[tuple(tags[record].tolist())]
        assert found[record].item() == pytest.approx(expected, abs=1e-4)


def test_decode_finds_the_best_of_all_taggings(crf, batch):
    emissions, mask = batch
    decoded = crf.decode(emissions, mask)
    for record, length in enumerate(LENGTHS):
        assert not decoded[record, length:].any(), "padding is O"
        if length:
            scores = taggings(crf, emissions[record, :length])
            assert tuple(decoded[record, :length].tolist()) == max(scores, key=scores.get)


def test_span_probabilities_are_sums_over_the_taggings_that_mark_the_span(crf, batch):
    emissions, mask = batch
    spans, expected = [], []
    for record, length in enumerate(LENGTHS):
        if length == 0:
            continue
        scores = taggings(crf, emissions[record, :length])
        total = log_sum(scores.values())
        for span in itertools.combinations(range(length + 1), 2):
            marking = [score for tags, score in scores.items() if span in spans_by_hand(tags)]
            spans.append((record, *span))
            expected.append(torch.tensor(log_sum(marking) - total).exp())
    found = crf.span_probabilities(emissions, mask, torch.tensor(spans))
    assert len(spans) == sum(n * (n + 1) // 2 for n in LENGTHS)
    assert torch.allclose(found, torch.stack(expected).float(), atol=1e-5)


def test_span_probabilities_of_no_spans_are_empty(crf, batch):
    assert crf.span_probabilities(*batch, torch.zeros(0, 3, dtype=torch.long)).shape == (0,)


def test_what_bio_forbids_is_never_decoded_however_it_scores(crf):
    emissions = torch.randn(64, 12, 3, generator=torch.Generator().manual_seed(4))
    emissions[:, :, I] += 3
    with torch.no_grad():
        crf.start[I] = 50.0
        crf.transitions[O, I] = 50.0
    decoded = crf.decode(emissions, torch.ones(64, 12, dtype=torch.bool))
    assert (decoded == I).any() and (decoded == O).any()
    assert all(is_legal(tuple(row)) for row in decoded.tolist())


def test_a_forbidden_tagging_has_a_huge_but_finite_loss_and_finite_gradients(crf):
    emissions = torch.zeros(1, 3, 3, requires_grad=True)
    loss = crf.nll(emissions, torch.tensor([[I, O, I]]), torch.ones(1, 3, dtype=torch.bool)).sum()
    loss.backward()
    assert 1e4 < loss.item() < 1e5
    assert all(p.grad.isfinite().all() for p in (emissions, *crf.parameters()))


@pytest.mark.parametrize("beyond", [0.0, -BEYOND, BEYOND])
def test_padding_changes_nothing(crf, batch, beyond):
    emissions, mask = batch
    wider = torch.nn.functional.pad(emissions.masked_fill(~mask[:, :, None], beyond), (0, 0, 0, 4), value=beyond)
    wider_mask = torch.nn.functional.pad(mask, (0, 4))
    tags = crf.decode(emissions, mask)
    spans = spans_of_tags(tags)
    assert len(spans)
    assert torch.equal(crf.decode(wider, wider_mask)[:, : mask.shape[1]], tags)
    assert torch.equal(
        crf.nll(wider, torch.nn.functional.pad(tags, (0, 4), value=-100), wider_mask), crf.nll(emissions, tags, mask)
    )
    assert torch.equal(crf.span_probabilities(wider, wider_mask, spans), crf.span_probabilities(emissions, mask, spans))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_emissions_are_summed_in_full_precision(crf, dtype):
    emissions = torch.randn(2, 200, 3, generator=torch.Generator().manual_seed(5)).to(dtype)
    mask = torch.ones(2, 200, dtype=torch.bool)
    tags = crf.decode(emissions, mask)
    loss = crf.nll(emissions, tags, mask)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, crf.nll(emissions.float(), tags, mask))
    probabilities = crf.span_probabilities(emissions, mask, spans_of_tags(tags))
    assert torch.equal(probabilities, crf.span_probabilities(emissions.float(), mask, spans_of_tags(tags)))


def test_spans_of_tags_by_hand():
    tags = torch.tensor(
        [
            [O, B, I, I, O, B],  # a mention inside, one at the end
            [B, B, I, O, B, I],  # neighbours
            [O, O, O, O, O, O],
            [B, I, I, I, I, I],
            [B, O, B, O, B, O],
        ]
    )
    assert spans_of_tags(tags).tolist() == [
        [0, 1, 4],
        [0, 5, 6],
        [1, 0, 1],
        [1, 1, 3],
        [1, 4, 6],
        [3, 0, 6],
        [4, 0, 1],
        [4, 2, 3],
        [4, 4, 5],
    ]


def test_spans_of_tags_agree_with_a_walk_over_every_legal_tagging():
    every = [tags for tags in itertools.product((O, B, I), repeat=5) if is_legal(tags)]
    found = spans_of_tags(torch.tensor(every))
    for record, tags in enumerate(every):
        assert {(f, s) for r, f, s in found.tolist() if r == record} == spans_by_hand(tags), tags


def test_spans_of_no_records_are_none():
    assert spans_of_tags(torch.zeros(0, 4, dtype=torch.long)).shape == (0, 3)


def test_span_probabilities_of_long_records_do_not_drift():
    crf = LinearChainCRF()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for scores in crf.parameters():
            scores.normal_(generator=generator)
    emissions = 30 * torch.randn(1, 512, 3, generator=generator)
    mask = torch.ones(1, 512, dtype=torch.bool)
    tags = crf.decode(emissions, mask)
    spans = spans_of_tags(tags)
    found = crf.span_probabilities(emissions, mask, spans)
    # the same by hand: the part of all taggings in which the span's words are tagged B I … I and the next one is not I
    exact = crf.double()
    start, transitions, end = exact.scores(torch.float64)

    def total(allowed):
        alpha = start + emissions[0, 0].double() + allowed[0]
        for t in range(1, 512):
            alpha = (alpha[:, None] + transitions).logsumexp(0) + emissions[0, t].double() + allowed[t]
        return (alpha + end).logsumexp(0)

    free = torch.zeros(512, 3, dtype=torch.float64)
    for i in range(0, len(spans), 25):
        _, first, stop = spans[i].tolist()
        only = free.clone()
        only[first:stop] = -1e9
        only[first, B] = 0
        only[first + 1 : stop, I] = 0
        if stop < 512:
            only[stop, I] = -1e9
        assert found[i].item() == pytest.approx((total(only) - total(free)).exp().item(), abs=1e-6)


def test_span_probabilities_are_made_in_what_the_device_has(crf, batch, monkeypatch):
    emissions, mask = batch[:2]
    spans = torch.tensor([[0, 0, 1]])
    expected = crf.span_probabilities(emissions, mask, spans)
    monkeypatch.setattr("finener.layers_finener.finest", lambda device: torch.float32)
    monkeypatch.setattr(Tensor, "double", None)  # as on Apple's GPUs, which refuse it
    torch.testing.assert_close(crf.span_probabilities(emissions, mask, spans), expected, atol=1e-4, rtol=0)
    long, mask = 30 * torch.randn(2, 300, 3, generator=torch.Generator().manual_seed(7)), torch.ones(2, 300) > 0
    found = crf.span_probabilities(long, mask, spans_of_tags(crf.decode(long, mask)))
    assert found.max() == 1.0, "sums that drift make no probability above 1"
