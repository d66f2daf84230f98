"""What a call of the pipeline asks of the types, and how a mention is written. It needs no torch: an exported model answers so too.

Letters in shape comments: M mentions, C types of one ontology (source or target).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .ontology_finener import Ontology
from .windows_finener import FoundMention, types_as_dict

if TYPE_CHECKING:
    from .configuration_finener import FinenerConfig
    from .naming_finener import TypesByName

SHOWN = ("all", "path", "leaf")


@dataclass(frozen=True)
class HeadTypes:
    """The types that one of a model's heads gives; goes where the pipeline takes a ``head``.

    Args:
        name: ``source`` or ``target``.
        ontology: of the head's C types.
        threshold: least score of a type, in [0, 1], in place of the config's. A mention without any such type gets none.
        top_k: so many types for each mention, with their ancestors, whatever the config's threshold: see
            :meth:`~.decoding_finener.TypeDecoder.choose_best`.
        allowed: indices of the types that a mention may be given, beside their ancestors; None: all.
        is_forced: each mention gets a type, if need be the best one.
    """

    name: str
    ontology: Ontology
    threshold: float | None = None
    top_k: int | None = None
    allowed: frozenset[int] | None = None
    is_forced: bool = False

    def __call__(self, model: Any, output: Any) -> list[dict[str, float]]:
        """Types and scores of each of the M mentions of a model's output, closed, from the roots down."""
        if self.top_k is None:
            chosen = model.select_types(output, self.name, self.threshold)
        else:
            chosen = model.best_types(output, self.name, self.top_k, self.allowed)
        kept = [self._kept(types) for types in chosen]
        if self.is_forced and not all(kept):
            best = model.best_types(output, self.name, 1, self.allowed)
            kept = [types or one for types, one in zip(kept, best, strict=True)]
        return kept

    def _kept(self, types: dict[str, float]) -> dict[str, float]:
        names = {t for t, score in types.items() if self.threshold is None or score >= self.threshold}
        if self.allowed is not None:
            names = set(self.ontology.closure(t for t in names if self.ontology.index(t) in self.allowed))
        return {t: score for t, score in types.items() if t in names}


def check_fraction(name: str, value: Any) -> None:
    """Raises ValueError where an argument is neither None nor a number in [0, 1]."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and 0.0 <= value <= 1.0):
        raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")


def check_at_least_one(name: str, value: Any) -> None:
    """Raises ValueError where an argument is no whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def heads_of_call(
    by_name: TypesByName,
    head: Any = None,
    types: Any = None,
    type_threshold: float | None = None,
    top_k: int | None = None,
    are_given: bool = False,
) -> tuple[list[Any], str]:
    """The heads that a call of the pipeline asks for, the first of them first, and which of a mention's types are shown.

    Args:
        by_name: of the pipeline's model.
        head, types, type_threshold, top_k: see :class:`~.pipeline_finener.FinenerPipeline`.
        are_given: whether the call brings the mentions.

    Raises:
        ValueError: when they do not go together, or one has no such value.
    """
    config, shown = by_name.model.config, "all"
    if isinstance(types, str) and types in SHOWN:
        types, shown = None, types
    if callable(head):
        if (types, type_threshold, top_k) != (None, None, None):
            raise ValueError(
                "types, type_threshold and top_k are of the model's own heads: leave them out beside another head"
            )
        return [head], shown
    if isinstance(types, Iterable) and not isinstance(types, (str, Mapping, Ontology)):
        types = list(types)
    first = _first_head(config, head)
    ontology = ontology_of_head(config, first)
    if types is not None and not _are_known(types, ontology):
        return [_named_types(by_name, head, types, type_threshold, top_k, are_given)], shown
    allowed = None if types is None else _branches([types] if isinstance(types, str) else types, ontology)
    heads = [HeadTypes(first, ontology, type_threshold, top_k, allowed, are_given)]
    if head == "both":
        heads.append(HeadTypes("source", config.ontology, type_threshold, top_k, None, True))
    return heads, shown


def _first_head(config: FinenerConfig, head: Any) -> str:
    has_target = config.target_ontology is not None
    if head not in ((None, "source", "target", "both") if has_target else (None, "source")):
        expected = (
            "'target', 'source' or 'both'"
            if has_target
            else "'source': this model was not fine-tuned to types of its own"
        )
        raise ValueError(f"head must be {expected}; got {head!r}")
    return "source" if head == "source" or not has_target else "target"


def _are_known(types: Any, ontology: Ontology) -> bool:
    """Whether these are types of the ontology. Raises ValueError on one name that is not: it may be a slip."""
    if isinstance(types, str):
        if types not in ontology:
            example = ontology.ids[ontology.roots[0]]
            raise ValueError(
                f"types={types!r} is no type of {ontology.name!r}: expected 'leaf', 'path' or 'all', one of its types (types={example!r}) "
                f"or, for types that the model was not trained on, a list (types=[{types!r}])"
            )
        return True
    are_names = isinstance(types, list) and len(types) > 0 and all(isinstance(t, str) for t in types)
    return are_names and all(t in ontology for t in types)


def _branches(types: Sequence[str], ontology: Ontology) -> frozenset[int]:
    """Indices of some types and of all below them."""
    tops = {ontology.index(t) for t in types}
    return frozenset(i for i, above in enumerate(ontology.ancestors) if i in tops or above & tops)


def _named_types(
    by_name: TypesByName, head: Any, types: Any, threshold: float | None, top_k: int | None, are_given: bool
) -> Any:
    if head is not None:
        raise ValueError(f"give types or a head, not both, where the types are not that head's; got head={head!r}")
    if top_k is not None:
        raise ValueError("top_k goes with types of the model's heads: by name each mention gets its best type")
    default = 0.0 if are_given else 0.5
    return by_name(types, default if threshold is None else threshold)


def ontology_of_head(config: FinenerConfig, head: Any = None) -> Ontology:
    """The types that a head gives, of two those of the first: see :class:`~.pipeline_finener.FinenerPipeline`."""
    if callable(head):
        return head.ontology
    return config.ontology if head == "source" or config.target_ontology is None else config.target_ontology


def mention_as_dict(
    text: str, mention: FoundMention, heads: Sequence[Any], shown: str, words: tuple[int, int] | None
) -> dict[str, Any]:
    """A mention as the pipeline returns it.

    Args:
        heads: which gave its types. shown: one of ``SHOWN``. words: first, and one past the last, of the caller's words.
    """
    first, *others = (
        types_as_dict(types, head.ontology, shown) for types, head in zip(mention.types, heads, strict=True)
    )
    return {
        "entity_group": first["entity_group"],
        "label": first["label"],
        "score": mention.score,
        "word": text[mention.start : mention.end],
        "start": mention.start,
        "end": mention.end,
        **({} if words is None else {"words": list(words)}),
        "types": first["types"],
        "labels": first["labels"],
        **({"source": others[0]} if others else {}),
    }


class Answers(Iterator[list[dict[str, Any]]]):
    """Each text's mentions, found as they are asked for. ``len()`` where the number of texts is known, for progress bars."""

    def __init__(self, results: Iterator[list[dict[str, Any]]], texts: Any):
        self.results, self.texts = results, texts

    def __next__(self) -> list[dict[str, Any]]:
        return next(self.results)

    def __len__(self) -> int:
        return len(self.texts)

    def __bool__(self) -> bool:
        return True  # and not by the length, which not all have
