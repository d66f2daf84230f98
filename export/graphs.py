"""A model as two ONNX graphs: the reader (encoder, BiLSTM, tag scores) and the type heads. Decoding stays outside.

Letters in shape comments: B records, T sub-tokens, W words, M mentions, F shape features, H state size, C source types, K target types.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from finener.modeling_finener import FinenerForTokenClassification

OPSET = 20
TOLERANCE = 1e-3  # by how much a graph's numbers may differ from the model's before the export is refused
QUANTIZED = ["MatMul", "LSTM", "Gather"]  # kinds of nodes whose weights int8 is for


class Reader(nn.Module):
    """Texts → tag scores and states of words: :meth:`FinenerForTokenClassification.read` with the BiLSTM as ONNX's own node.

    That node knows each record's length, as packed sequences do, so that padding changes nothing. It takes ``torch.export`` past the
    LSTM, whose length it otherwise fixes.
    """

    def __init__(self, model: FinenerForTokenClassification):
        super().__init__()
        self.model = model
        for layer in range(model.config.lstm_layers):
            for name, weights in zip("WRB", _lstm_weights(model.lstm, layer), strict=True):
                self.register_buffer(f"{name}{layer}", weights)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, word_starts: Tensor, word_shapes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tag scores (B, W, 3) and what mentions are the mean of, (B, W, H)."""
        config = self.model.config
        word_states = self.model.encoder_states(input_ids, attention_mask, word_starts)
        features = torch.cat([word_states, word_shapes], 2) if config.use_word_shape else word_states
        lengths = (word_starts >= 0).sum(1).clamp(min=1).to(torch.int32)
        states = features.transpose(0, 1)  # (W, B, size): the node reads time first
        for layer in range(config.lstm_layers):
            states = self._lstm(states, lengths, layer)
        states = states.transpose(0, 1)
        emissions = self.model.tagger(states)
        return emissions, torch.cat([states, word_states], 2) if config.mention_state == "lstm+encoder" else states

    def _lstm(self, states: Tensor, lengths: Tensor, layer: int) -> Tensor:
        """One layer in both directions: (W, B, size) → (W, B, 2 × units)."""
        n_words, n_records, units = *states.shape[:2], self.model.config.lstm_hidden_size
        weights = (getattr(self, f"{name}{layer}") for name in "WRB")
        (both,) = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            (states, *weights, lengths),
            {"hidden_size": units, "direction": "bidirectional"},
            dtypes=(states.dtype,),
            shapes=((n_words, 2, n_records, units),),
            version=14,
        )
        return both.transpose(1, 2).reshape(n_words, n_records, 2 * units)


def _lstm_weights(lstm: nn.LSTM, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's weights as the node takes them, both directions: (2, 4 × units, size), (2, 4 × units, units), (2, 8 × units)."""
    parts: dict[str, list[Tensor]] = {}
    for direction in ("", "_reverse"):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            inputs, forget, cell, output = getattr(lstm, f"{kind}_l{layer}{direction}").detach().chunk(4)
            parts.setdefault(kind, []).append(torch.cat([inputs, output, forget, cell]))  # the node's order
    stacked = {kind: torch.stack(both) for kind, both in parts.items()}
    return stacked["weight_ih"], stacked["weight_hh"], torch.cat([stacked["bias_ih"], stacked["bias_hh"]], 1)


class TypeHeads(nn.Module):
    """States of mentions (M, H) → raw logits of source types (M, C) and, where the model has them, of target types (M, K)."""

    def __init__(self, model: FinenerForTokenClassification):
        super().__init__()
        self.type_head, self.conversion = model.type_head, model.conversion

    def forward(self, mentions: Tensor) -> tuple[Tensor, ...]:
        """All logits."""
        logits, vectors = self.type_head(mentions)
        return (logits,) if self.conversion is None else (logits, self.conversion(logits, mentions, vectors))


def write_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, Sequence[str]],
    outputs: Sequence[str],
    path: Path,
) -> None:
    """Writes a module as an ONNX graph, and holds it against the module on the given inputs.

    Args:
        module: in evaluation mode.
        inputs: an example, no dimension of which is 1. axes: of each input, the names of its first dimensions, which may vary.
        outputs: names of what the module returns. path: of the file.

    Raises:
        ValueError: when the graph computes something else than the module.
    """
    kinds = {name: torch.export.Dim(name) for name in sorted({axis for names in axes.values() for axis in names})}
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            module,
            (),
            path,
            kwargs=dict(inputs),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {i: kinds[axis] for i, axis in enumerate(names)} for name, names in axes.items()},
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        _check_graph(path, module, inputs)


def quantize_graph(path: Path) -> None:
    """Makes a graph's weights whole numbers of 8 bits, in its file; those that they are multiplied with become such while it runs."""
    with TemporaryDirectory() as work, _quiet():
        whole = shutil.copyfile(path, Path(work) / path.name)
        quantize_dynamic(whole, path, op_types_to_quantize=QUANTIZED, per_channel=True, weight_type=QuantType.QInt8)


def _check_graph(path: Path, module: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    named = {given.name for given in session.get_inputs()}
    found = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in named})
    for output, expected in zip(found, expected_outputs(module, inputs), strict=True):
        difference = float(np.abs(output - expected).max())
        if not difference <= TOLERANCE:
            raise ValueError(f"{path.name} differs from the model by {difference:.2g}: this encoder cannot be exported")


def expected_outputs(module: nn.Module, inputs: Mapping[str, Tensor]) -> list[np.ndarray]:
    """What the model itself says where a graph of ``module`` is asked: zero in padding, as the graph's BiLSTM."""
    if not isinstance(module, Reader):
        return [output.numpy() for output in module(**inputs)]
    reading = module.model.read(**inputs)
    is_joined = module.model.config.mention_state == "lstm+encoder"
    states = torch.cat([reading.states, reading.word_states], 2) if is_joined else reading.states
    return [reading.emissions.numpy(), states.numpy()]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter and the quantizer say to their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx._internal.exporter._registration", None)]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
