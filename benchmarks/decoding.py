"""How long it takes to choose the types of a batch of mentions from their logits, sparse as now and dense as before.

Each figure is a median over interleaved runs, in milliseconds on one thread. Both forms must choose the same. The types are those of
YAGO 3's WordNet classes (68,422), and those that are shipped. Writes results/bench_decoding.json.

Usage: python benchmarks/decoding.py --data PATH_TO_SHARED_DATA [--mentions 100] [--runs 15]
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from finener.decoding_finener import TypeDecoder
from finener.layers_finener import decay_rows, sparse_rows
from finener.ontology_finener import EntityType, Ontology
from finener.paths import ROOT
from finener.scripts.build_ontologies import WordNet

STATE_SIZE = 400  # of a mention, for the matrix product beside which decoding runs
THRESHOLD = 0.5


def yago_classes(folder: Path) -> Ontology:
    """All WordNet classes of YAGO, with the hypernyms of WordNet 3.0."""
    net = WordNet.read(folder)
    whole = Ontology("yago", [EntityType(o, net.lemmas[o][0], tuple(net.above(o))) for o in net.lemmas])
    with gzip.open(folder / "wordnet_classes.tsv.gz", "rt", encoding="utf-8") as lines:
        known = {line.split("\t")[0][-8:] for line in list(lines)[1:]}
    return whole.subset([o for o in whole.ids if o in known])


def logits_of_a_trained_model(ontology: Ontology, mentions: int) -> Tensor:
    """Far below zero, but for the closures of one or two types of each mention."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(mentions, len(ontology), generator=draw) * 1.5 - 7
    for row in logits:
        own = ontology.closure_indices(torch.randint(len(ontology), (2,), generator=draw).tolist())
        row[own] = torch.randn(len(own), generator=draw) * 2 + 3
    return logits


def logits_of_a_new_model(ontology: Ontology, mentions: int) -> Tensor:
    """Around the start bias: no type passes, so that each mention gets its best."""
    return torch.randn(mentions, len(ontology), generator=torch.Generator().manual_seed(0)) * 0.3 - 7


class Dense:
    """Decoding over all (mention, type) cells, as it was until this form was replaced."""

    def __init__(self, ontology: Ontology):
        self.ontology = ontology
        self.edges_by_level = TypeDecoder(ontology, torch.device("cpu")).levels
        self.closure_pairs = [(i, a) for i in range(len(ontology)) for a in sorted(ontology.ancestors[i] | {i})]

    def several(self, logits: Tensor) -> list[dict[str, float]]:
        """Sigmoid types."""
        scores = logits.sigmoid()
        for children, parents in self.edges_by_level:
            scores.scatter_reduce_(1, children.expand(len(scores), -1), scores[:, parents], "amin")
        assignable = torch.tensor(self.ontology.assignable)
        chosen = (scores >= self._thresholds()) & assignable
        for row in (~chosen.any(1)).nonzero()[:, 0].tolist():
            own = scores[row].masked_fill(~assignable, -1.0)
            chosen[row, max((own == own.max()).nonzero()[:, 0].tolist(), key=self.ontology.depths.__getitem__)] = True
        return self._named(scores, self._close(chosen))

    def path(self, logits: Tensor) -> list[dict[str, float]]:
        """Softmax types."""
        probabilities = logits.softmax(1)
        types, above = torch.tensor(self.closure_pairs).T
        scores = torch.zeros_like(probabilities).index_add_(1, above, probabilities[:, types]).clamp(max=1.0)
        best = logits.argmax(1)
        path = self._close(torch.zeros_like(scores, dtype=torch.bool).scatter_(1, best[:, None], True))
        is_root = torch.tensor([not parents for parents in self.ontology.parents])
        passes = (scores >= self._thresholds()) & torch.tensor(self.ontology.assignable)
        return self._named(scores, self._close(path & (passes | is_root)))

    def _thresholds(self) -> Tensor:
        return torch.tensor([THRESHOLD for _ in self.ontology.depths])

    def _close(self, chosen: Tensor) -> Tensor:
        for children, parents in reversed(self.edges_by_level):
            chosen.scatter_reduce_(1, parents.expand(len(chosen), -1), chosen[:, children], "amax")
        return chosen

    def _named(self, scores: Tensor, chosen: Tensor) -> list[dict[str, float]]:
        rows = []
        for row, own in zip(scores.tolist(), chosen, strict=True):
            indices = sorted(own.nonzero()[:, 0].tolist(), key=self.ontology.depths.__getitem__)
            rows.append({self.ontology.ids[i]: row[i] for i in indices})
        return rows


def _same(new: list[dict[str, float]], old: list[dict[str, float]], tolerance: float) -> bool:
    return [list(types) for types in new] == [list(types) for types in old] and all(
        abs(a - b) <= tolerance
        for row, other in zip(new, old, strict=True)
        for a, b in zip(row.values(), other.values(), strict=True)
    )


def measure(ontology: Ontology, mentions: int, runs: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of each way, by kind of logits."""
    decoder, dense = TypeDecoder(ontology, torch.device("cpu")), Dense(ontology)
    credit = sparse_rows(decay_rows(ontology, 0.5), len(ontology))
    head, states = torch.nn.Linear(STATE_SIZE, len(ontology)), torch.randn(mentions, STATE_SIZE)
    found = {}
    for make in (logits_of_a_trained_model, logits_of_a_new_model):
        logits = make(ontology, mentions)
        ways: dict[str, Callable[[], object]] = {
            "matrix product": lambda: head(states),
            "sigmoid, sparse": lambda x=logits: decoder.named(decoder.choose(x, THRESHOLD)),
            "sigmoid, dense": lambda x=logits: dense.several(x),
            "softmax, sparse": lambda x=logits: decoder.named(decoder.choose(x, THRESHOLD, one_type=True)),
            "softmax, dense": lambda x=logits: dense.path(x),
            "softmax, highest expected F1": lambda x=logits: decoder.named(
                decoder.choose(x, THRESHOLD, one_type=True, credit=credit)
            ),
        }
        for kind, tolerance in (("sigmoid", 0.0), ("softmax", 1e-4)):  # the dense form adds 68,422 numbers in fp32
            if not _same(ways[f"{kind}, sparse"](), ways[f"{kind}, dense"](), tolerance):
                raise SystemExit(f"the two forms do not choose the same {kind} types: {make.__name__}")
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                times[name].append(1000 * (time.perf_counter() - start))
        found[make.__name__] = {name: round(statistics.median(values), 2) for name, values in times.items()}
    return found


def main() -> None:
    """Measures and writes the results file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of shared data, with yago/ in it")
    parser.add_argument("--mentions", type=int, default=100)
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    ontologies = [yago_classes(args.data / "yago")]
    ontologies += [Ontology.from_json(ROOT / "ontologies" / f"{name}.json") for name in ("yago", "aida", "crossner")]
    results = {
        "command": f"python benchmarks/decoding.py --data DATA --mentions {args.mentions} --runs {args.runs}",
        "machine": f"{platform.machine()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "mentions": args.mentions,
        "median_milliseconds": {str(len(o)): measure(o, args.mentions, args.runs) for o in ontologies},
    }
    text = json.dumps(results, indent=1) + "\n"
    (ROOT / "results" / "bench_decoding.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
