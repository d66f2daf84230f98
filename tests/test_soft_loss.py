import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from finener.configuration_finener import CreditRows
from finener.layers_finener import SparseRows, conversion_loss, decay_rows, sparse_rows
from finener.modeling_finener import FinenerForTokenClassification

import tiny


def rows_of(credit: Tensor) -> SparseRows:
    """A whole W as the loss reads it."""
    gold, predicted = credit.nonzero(as_tuple=True)
    return sparse_rows(
        CreditRows(zip(gold.tolist(), predicted.tolist(), credit[gold, predicted].tolist(), strict=True)), len(credit)
    )


def test_conversion_loss_by_hand_shares_the_mass_among_leaves():
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0], [9.0, 9.0, 9.0]])
    credit = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.0, 0.5]])
    labels = torch.tensor([[1, 2], [0, -1], [-1, -1]])
    losses, counts = conversion_loss(logits, labels, rows_of(credit))
    log_p = logits.log_softmax(1).tolist()
    first = -(0.375 * log_p[0][0] + 0.375 * log_p[0][1] + 0.25 * log_p[0][2])
    assert losses.tolist() == pytest.approx([first, -log_p[1][0], 0.0])
    assert counts.tolist() == [1, 1, 0]


def test_soft_loss_with_decay_zero_is_plain_cross_entropy(tokenizer):
    model = tiny.tiny_model(tokenizer, target=True, soft_loss_decay=0.0)
    output = model(**tiny.gold_batch(model, tokenizer))
    plain = torch.nn.functional.cross_entropy(output.target_type_logits, torch.tensor(tiny.gold_of(model)))
    assert output.losses["conversion"].item() == pytest.approx(plain.item(), rel=1e-5)


def test_soft_loss_gives_ancestors_their_share(target_model, tokenizer, target):
    output = target_model(**tiny.gold_batch(target_model, tokenizer))
    log_p = output.target_type_logits.log_softmax(1)
    shares = {
        "per.artist.painter": {"per.artist.painter": 0.8, "per": 0.2},  # 1 : 0.25, its direct parent is not assignable
        "per.politician": {"per.politician": 2 / 3, "per": 1 / 3},
        "loc.city.capital": {"loc.city.capital": 4 / 7, "loc.city": 2 / 7, "loc": 1 / 7},
        "loc.city": {"loc.city": 2 / 3, "loc": 1 / 3},
        "org.company": {"org.company": 2 / 3, "org": 1 / 3},
        "org": {"org": 1.0},
    }
    expected = -sum(
        share * log_p[mention, target.index(t)].item()
        for mention, gold in enumerate(tiny.gold_of(target_model))
        for t, share in shares[target.ids[gold]].items()
    )
    assert output.losses["conversion"].item() == pytest.approx(expected / 7, rel=1e-5)


def test_other_soft_loss_weights_are_scaled_stored_and_come_back(target_model, tokenizer, target, tmp_path):
    weights = torch.zeros(10, 10)
    weights[range(10), range(10)] = 2.0
    weights[:, 1] = 1.0  # per.artist, which is not assignable
    weights[4, 0], weights[4, 5] = 1.0, 1.0  # per.politician → per, org
    target_model.set_soft_loss_weights(weights)
    target_model.save_pretrained(tmp_path)
    again = FinenerForTokenClassification.from_pretrained(tmp_path)
    for model in (target_model, again):
        expected = torch.eye(10)
        expected[4, [4, 0, 5]] = torch.tensor([0.5, 0.25, 0.25])
        assert dense(model.config.soft_loss_weights) == expected.tolist()
    log_p = (output := target_model(**tiny.gold_batch(target_model, tokenizer))).target_type_logits.log_softmax(1)
    loss = -sum((expected[gold] @ log_p[mention]).item() for mention, gold in enumerate(tiny.gold_of(target_model)))
    assert output.losses["conversion"].item() == pytest.approx(loss / 7, rel=1e-5)


def dense(rows: CreditRows) -> list[list[float]]:
    weights = torch.zeros(10, 10)
    for gold, predicted, credit in rows:
        weights[gold, predicted] = credit
    return weights.tolist()


def zero_row(weights: Tensor) -> Tensor:
    weights[4] = 0.0
    weights[4, 1] = 1.0  # credit for a type that is never predicted is none
    return weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:9], r"must be 10 × 10; got \(9, 10\)"),
        (zero_row, r"weights of per\.politician are all zero"),
        (lambda w: w - 0.1, "finite and at least 0"),
        (lambda w: w / 0.0, "finite and at least 0"),
    ],
    ids=["shape", "zero row", "negative", "not finite"],
)
def test_bad_soft_loss_weights_are_told_and_change_nothing(target_model, change, message):
    target_model.set_soft_loss_weights(torch.ones(10, 10))
    before = target_model.config.soft_loss_weights
    with pytest.raises(ValueError, match=message):
        target_model.set_soft_loss_weights(change(torch.eye(10)))
    assert target_model.config.soft_loss_weights is before and len(before) == 90


@pytest.mark.parametrize("knobs", [{}, {"target": True, "target_activation": "sigmoid"}], ids=["no head", "sigmoid"])
def test_only_softmax_targets_have_soft_loss_weights(tokenizer, knobs):
    with pytest.raises(ValueError, match="only softmax targets have a soft loss"):
        tiny.tiny_model(tokenizer, **knobs).set_soft_loss_weights(torch.eye(10))


def test_w_is_kept_beside_the_types_exactly_and_the_decays_is_not(target_model, target, tmp_path):
    target_model.save_pretrained(tmp_path / "decay")
    assert "credit" not in json.loads((tmp_path / "decay" / "ontology.json").read_text(encoding="utf-8"))
    weights = torch.rand(10, 10, generator=torch.Generator().manual_seed(0))
    target_model.set_soft_loss_weights(weights)
    rows = target_model.config.soft_loss_weights
    target_model.to(torch.bfloat16).save_pretrained(tmp_path / "own")
    again = FinenerForTokenClassification.from_pretrained(tmp_path / "own")
    assert again.config.soft_loss_weights == rows and again.dtype == torch.bfloat16
    assert not [name for name in again.state_dict() if "credit" in name]
    again.set_soft_loss_weights(target.soft_label_weights(0.5).to_sparse())
    assert again.config.soft_loss_weights is None


def test_sparse_and_dense_weights_are_the_same(target_model):
    weights = torch.eye(10) + torch.rand(10, 10, generator=torch.Generator().manual_seed(0)).round()
    target_model.set_soft_loss_weights(weights)
    dense = target_model.config.soft_loss_weights
    target_model.set_soft_loss_weights(weights.to_sparse())
    assert target_model.config.soft_loss_weights == dense


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.5])
def test_the_sparse_loss_is_the_dense_one_bit_for_bit(target, decay):
    logits = 3 * torch.randn(60, 10, generator=torch.Generator().manual_seed(0))
    gold = torch.arange(60) % 10
    whole = target.soft_label_weights(decay)
    whole = whole / whole.sum(1, keepdim=True)
    expected = -(whole[gold] * logits.log_softmax(1)).sum(1)
    labels = torch.stack([gold, torch.full_like(gold, -1)], 1)
    found, counts = conversion_loss(logits, labels, sparse_rows(decay_rows(target, decay), 10))
    assert torch.equal(found, expected) and counts.sum() == 60


def test_a_new_w_counts_from_the_next_batch_on(target_model, tokenizer):
    batch = tiny.gold_batch(target_model, tokenizer)
    before = target_model(**batch).losses["conversion"]
    target_model.set_soft_loss_weights(torch.eye(10))
    output = target_model(**batch)
    plain = torch.nn.functional.cross_entropy(output.target_type_logits, torch.tensor(tiny.gold_of(target_model)))
    assert output.losses["conversion"].item() == pytest.approx(plain.item(), rel=1e-5) != before.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("own", [False, True])
def test_w_of_a_model_of_before_is_taken_over(target_model, target, tmp_path, dtype, own):
    target_model.to(dtype).save_pretrained(tmp_path)
    credit = target.soft_label_weights(0.5)
    if own:
        credit[4, 0] = 4.0
    credit = credit / credit.sum(1, keepdim=True)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {"conversion.credit": credit.to(dtype)}, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"mention_pooling": "mean"}), encoding="utf-8")
    again, loading = FinenerForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values())
    assert (again.config.soft_loss_weights is not None) == own
    if own:
        found = {(g, p): c for g, p, c in again.config.soft_loss_weights}
        assert found[4, 0] == pytest.approx(4 / 5, abs=0.01)
    again.save_pretrained(tmp_path / "again")
    third = FinenerForTokenClassification.from_pretrained(tmp_path / "again")
    assert third.config.soft_loss_weights == again.config.soft_loss_weights
