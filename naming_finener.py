"""Types by name: scores for types that were never trained, borrowed from the source classes whose names are nearest.

Letters in shape comments: M mentions, C source types, N of these that training knew, K types given by name, D encoder size.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .building_finener import embed_names
from .decoding_finener import ChosenTypes, type_decoder
from .ontology_finener import EntityType, Ontology, OntologyError
from .words_finener import is_cjk

NEAREST = 10  # source classes that vouch for a type
SHARPNESS = 20.0  # of the softmax over cosines that weighs them
SURPRISE = 0.75  # how far a class's share of the training mentions counts against it: 0 not at all, 1 in full
LEAST_SHARE = 2e-4  # what is left of a class has at least this share
EVEN = 1.5  # the surprise whose score is 0.5
KNOWN_MARGIN = 0.3  # how far the bias of a type that training knew lies above the lowest
BLOCK = 1024  # types compared at a time
LEAST_CJK = 3000  # pieces with Chinese or Japanese characters of an encoder that reads them
MOST_KEPT = 8  # type systems of which a pipeline keeps the matrices


def ontology_of_names(types: Any) -> Ontology:
    """The types of a call as an ontology: itself, or a flat one whose ids are the names.

    Args:
        types: an :class:`Ontology`, or names such as ``["astronomer", "space telescope"]``.

    Raises:
        TypeError: on a bare string, or a name that is no string.
        OntologyError: without names, on an empty one, or on one given twice.
    """
    if isinstance(types, Ontology):
        return types
    expected = 'types=["astronomer", "space telescope"] or types=Ontology.from_tsv("my_types.tsv")'
    if isinstance(types, (str, Mapping)) or not isinstance(types, Iterable):
        raise TypeError(f"types must be a list of names or an Ontology, got {types!r}: {expected}")
    names = list(types)
    if bad := [name for name in names if not isinstance(name, str)]:
        raise TypeError(f"a type's name must be a string, got {bad[0]!r}: {expected}")
    names = [name.strip() for name in names]
    if not names or not all(names):
        raise OntologyError(f"there are no types to give, or one has no name: {expected}")
    counts = Counter(name.casefold() for name in names)
    if len(counts) < len(names):
        doubled = next(name for name in names if counts[name.casefold()] > 1)
        raise OntologyError(f"the type {doubled!r} is given more than once")
    return Ontology("named", [EntityType(name, name) for name in names])


def names_of(ontology: Ontology) -> list[str]:
    """What each type is called: its label, or else its id; with its parents' where another type, not above or below it, has the same.

    Raises:
        OntologyError: on a blank name, or when types can't be told apart even so.
    """
    names = [(t.label or t.id).strip() for t in ontology.types]
    if "" in names:
        raise OntologyError(
            f"the type {ontology.ids[names.index('')]!r} of ontology {ontology.name!r} has no name: give it a label"
        )
    for i in (i for own in _namesakes(names, ontology) for i in own):
        names[i] = ontology.name_path(ontology.ids[i])
    for first, second, *_ in _namesakes(names, ontology):
        raise OntologyError(
            f"the types {ontology.ids[first]!r} and {ontology.ids[second]!r} of ontology {ontology.name!r} have the same name, "
            f"{names[first]!r}: give them labels or parents that differ"
        )
    return names


def _namesakes(names: Sequence[str], ontology: Ontology) -> list[list[int]]:
    """The types that share their name, as lists of indices; those that all lie in one line of descent are left out."""
    by_name: dict[str, list[int]] = {}
    for i in sorted(range(len(names)), key=ontology.depths.__getitem__):
        by_name.setdefault(names[i].casefold(), []).append(i)
    return [own for own in by_name.values() if any(i not in ontology.ancestors[j] for i, j in pairwise(own))]


def knows_cjk(tokenizer: Any) -> bool:
    """Whether a vocabulary holds the characters of Chinese or Japanese text, thousands, not the hundreds that stray into an English one."""
    return sum(any(map(is_cjk, piece)) for piece in tokenizer.get_vocab()) >= LEAST_CJK


def check_script(names: Iterable[str], tokenizer: Any) -> None:
    """Raises OntologyError on a name that the encoder can't read: a script that its tokenizer does not know, or knows as letters alone."""
    reads_cjk: bool | None = None  # found out when it is first needed
    for name in names:
        pieces, letters = tokenizer.tokenize(name), [c for c in name if c.isalpha()]
        if any(map(is_cjk, letters)):  # each is a word: that they are pieces by themselves says nothing
            reads_cjk = knows_cjk(tokenizer) if reads_cjk is None else reads_cjk
            letters = [c for c in letters if not is_cjk(c)] if reads_cjk else letters
        is_spelled = 2 * sum(piece != "▁" for piece in pieces) > len(letters) > 0
        is_foreign = is_spelled and not any(c.isascii() for c in letters)
        if is_foreign or not any(c.isalnum() for c in name) or tokenizer.unk_token in pieces:
            raise OntologyError(
                f"the encoder can't read the type name {name!r} (its pieces: {pieces[:8]}): give a name in a language that it was "
                'trained on, e.g. types=["astronomer"]'
            )


class SourceNames:
    """The source types that training knew: which they are, their shares of the training mentions, and their names' embeddings.

    Biases start at these shares and hardly move, so they are read from there: no dev data are needed. Where no bias stands out, as in a
    model whose biases started alike, every type counts.

    Args:
        model: a finener model. tokenizer: its encoder's.
    """

    def __init__(self, model: Any, tokenizer: Any):
        self.model, self.tokenizer = model, tokenizer
        self.ontology, bias = model.config.ontology, model.type_head.score.bias.detach().float()
        known = bias > bias.min() + KNOWN_MARGIN
        self.known = (known if known.any() else ~known).nonzero()[:, 0]  # (N) indices
        self.shares = bias[self.known].sigmoid()  # (N) in (0, 1)
        types = (self.ontology.types[i] for i in self.known.tolist())
        self.vectors = self.embed([t.label or t.id for t in types])  # (N, D)

    def embed(self, names: list[str]) -> Tensor:
        """The encoder's embeddings of names, (len(names), D), of unit length, without dropout, though the model be in training."""
        mode = self.model.training
        vectors = embed_names(self.model.eval().encoder, self.tokenizer, names).float()
        self.model.train(mode)
        return vectors

    def nearest(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest classes of types, nearest first, and the cosines of the names: places among the N and cosines, (K, n) each.

        Args:
            vectors: (K, D), of unit length.
        """
        found = [(block @ self.vectors.T).topk(min(NEAREST, len(self.vectors)), 1) for block in vectors.split(BLOCK)]
        return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])


class NamedTypes:
    """Types mentions by types that were never trained; goes where the pipeline takes a ``head``.

    The nearest classes of a type, by name, vouch for it: each by how much more probable it is than its share of the training mentions
    would have it (a surprise). Where the nearest class has classes below it that are the nearest of other types, only the rest of it
    counts: beside *person*, *living thing* is what is alive and no person. It is all linear in the classes' scores: one matrix product.

    A mention gets the type with the highest score, and its ancestors; a type vouches for those.

    Args:
        source: of the model that is asked.
        ontology: the K types.
        threshold: least score of the best type, in [0, 1]; below it a mention gets none.

    Raises:
        OntologyError: on names that are equal or that the encoder can't read, see :func:`names_of` and :func:`check_script`.
    """

    def __init__(self, source: SourceNames, ontology: Ontology, threshold: float = 0.5):
        names = names_of(ontology)
        check_script(names, source.tokenizer)
        self.source, self.ontology, self.threshold = source, ontology, threshold
        self.places, self.cosines = source.nearest(source.embed(names))
        self.shares = (SHARPNESS * self.cosines).softmax(1)  # (K, n) of what each of them counts
        self.matrix = self._matrix()  # (N, K)

    def _matrix(self) -> Tensor:
        shares, (tops, *_) = self.source.shares, self.places.T
        weights = self.shares * self.cosines[:, :1].clamp(min=0)
        matrix = shares.new_zeros(len(shares), len(self.ontology))
        matrix.scatter_(0, self.places.T, (weights / shares[self.places] ** SURPRISE).T)
        for k, claimed in enumerate(self._claimed(tops.tolist())):
            if claimed:
                rest = (shares[tops[k]] - shares[claimed].sum()).clamp(min=LEAST_SHARE)
                matrix[tops[k], k] = weights[k, 0] / rest**SURPRISE
                matrix[claimed, k] -= weights[k, 0] / rest**SURPRISE
        return matrix

    def _claimed(self, tops: list[int]) -> list[list[int]]:
        """Of each type: the classes below its nearest one that are the nearest of types which are not below it, the highest of them."""
        ids, above = self.source.known.tolist(), self.source.ontology.ancestors
        owners: dict[int, list[int]] = {}
        for k, top in enumerate(tops):
            owners.setdefault(top, []).append(k)
        below = {c: {t for t in owners if ids[c] in above[ids[t]]} for c in owners}
        of_leaves = {c: self._highest(below[c]) for c in owners}  # most types have none below them
        claimed = []
        for k, top in enumerate(tops):
            if self.ontology.children[k]:
                own = {t for t in below[top] if any(k not in self.ontology.ancestors[j] for j in owners[t])}
                claimed.append(self._highest(own))
            else:
                claimed.append(of_leaves[top])
        return claimed

    def _highest(self, classes: set[int]) -> list[int]:
        """Of some of the N classes, those that are below none of the others."""
        ids, above = self.source.known.tolist(), self.source.ontology.ancestors
        inside = {ids[t] for t in classes}
        return sorted(t for t in classes if not above[ids[t]] & inside)

    def at(self, threshold: float) -> NamedTypes:
        """The same types with another threshold."""
        other = copy.copy(self)
        other.threshold = threshold
        return other

    def scores(self, source_scores: Tensor) -> Tensor:
        """The types' own scores (M, K) in [0, 1) of the source types' coherent scores (M, C)."""
        surprise = (source_scores[:, self.source.known] @ self.matrix).clamp(min=0)
        return surprise / (surprise + EVEN)

    def __call__(self, model: Any, output: Any) -> list[dict[str, float]]:
        """Types and scores of each mention of a model's output, closed, from the roots down; empty below the threshold."""
        own = self.scores(model.source_scores(output.type_logits))
        decoder = type_decoder(self.ontology, own.device)
        best = own.masked_fill(~decoder.assignable, -1.0).argmax(1)
        mentions, types = decoder.paths(best)
        raised = own.clone()
        for children, parents in reversed(decoder.levels):
            raised.scatter_reduce_(1, parents.expand(len(own), -1), raised[:, children], "amax")
        kept = own[torch.arange(len(own), device=own.device), best][mentions] >= self.threshold
        mentions, types = mentions[kept], types[kept]
        return decoder.named(ChosenTypes(mentions, types, raised[mentions, types], len(own)))


class TypesByName:
    """Makes :class:`NamedTypes` of a model and keeps the last ones, as long as the model stays as it is.

    Args:
        model: a finener model. tokenizer: its encoder's.
    """

    def __init__(self, model: Any, tokenizer: Any):
        self.model, self.tokenizer = model, tokenizer
        self.state: Any = None
        self.source: SourceNames | None = None
        self.kept: dict[Any, NamedTypes] = {}

    def __call__(self, types: Any, threshold: float = 0.5) -> NamedTypes:
        """The head of some types, see :func:`ontology_of_names`: only the first time, they are embedded."""
        ontology = ontology_of_names(types)
        parameters = [*self.model.encoder.parameters(), self.model.type_head.score.bias]
        state = self.model.device, *((id(p), p._version) for p in parameters)
        if state != self.state:  # trained or moved meanwhile
            self.state, self.source, self.kept = state, SourceNames(self.model, self.tokenizer), {}
        key = ontology.name, ontology.digest, tuple(t.label for t in ontology.types)  # the digest knows no labels
        named = self.kept.pop(key, None) or NamedTypes(self.source, ontology)
        self.kept = dict([*self.kept.items(), (key, named)][-MOST_KEPT:])
        return named.at(threshold)
