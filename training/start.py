"""What a phase starts from: its model, what of it is trained, where its types begin."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from finener.configuration_finener import CONVERSION_KNOBS
from finener.metrics.credit import read_credit
from finener.modeling_finener import FinenerForTokenClassification
from finener.ontology_finener import Ontology
from finener.prediction.by_name import map_by_names
from finener.prediction.mapping import TypeMapping
from finener.prediction.records import load_pipeline, predict_records
from finener.training.arguments import ArgumentError, FinenerArguments, TrainerSettings
from finener.training.records import read_ontology, typed_with
from finener.training.soft_loss import credit_matrix, estimate_credit

FREEZABLE = ("nothing", "encoder", "detection")
ENCODER_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}
TYPE_STARTS = ("names", "mapping", "random")


def encoder_path(name: str | None) -> str:
    """Where the encoder is: ``python:PACKAGE`` is a model that a Python package carries, anything else is left as it is."""
    if not name:
        raise ArgumentError("encoder is not set: name an AutoModel, e.g. encoder: bert-base-cased")
    if not name.startswith("python:"):
        return name
    try:
        return str(importlib.import_module(name.removeprefix("python:")).get_model_path())
    except (ImportError, AttributeError) as error:
        raise ArgumentError(f"encoder {name}: the package is not installed or carries no model ({error})") from error


def build_model(
    args: FinenerArguments, encoder_dtype: str = "float32", device: torch.device | str = "cpu"
) -> tuple[FinenerForTokenClassification, PreTrainedTokenizerBase]:
    """The phase's model, on the device, the types of a new head at their starts, and its tokenizer.

    Raises ArgumentError on what does not fit.
    """
    if args.type_start not in TYPE_STARTS:
        raise ArgumentError(f"type_start must be one of {', '.join(TYPE_STARTS)}; got {args.type_start!r}")
    if args.type_start == "mapping" and args.phase != "finetune":
        raise ArgumentError("type_start: mapping is of fine-tuning: pre-training has no source types to start at")
    if args.phase != "pretrain":
        model = _on_pretrained(args).to(device)
    elif args.model:
        model = _trained_on(args).to(device)
    else:
        model = _on_encoder(args, read_dtype(encoder_dtype), device)
    try:
        tokenizer = model.own_tokenizer()
    except ValueError as error:
        raise ArgumentError(f"{model.name_or_path}: {error}") from error
    if args.phase == "finetune":
        target = read_ontology(args.target_ontology, "target_ontology")
        try:
            model.add_conversion(target, start=_start(args), tokenizer=tokenizer, **args.knobs)
        except ValueError as error:
            raise ArgumentError(f"knobs {args.knobs}: {error}") from error
    return model, tokenizer


def _start(args: FinenerArguments) -> str:
    return "random" if args.type_start == "random" else "names"


def _on_encoder(
    args: FinenerArguments, autocast: torch.dtype | None, device: torch.device | str
) -> FinenerForTokenClassification:
    place, ontology = encoder_path(args.encoder), read_ontology(args.ontology, "ontology")
    try:
        return FinenerForTokenClassification.from_encoder(
            place, ontology, start=_start(args), autocast=autocast, device=device, **args.knobs
        )
    except ValueError as error:
        raise ArgumentError(f"encoder {args.encoder!r}, knobs {args.knobs}: {error}") from error
    except OSError as error:
        raise ArgumentError(
            f"encoder {args.encoder!r} is neither a folder here nor can it be fetched: {error}"
        ) from error


def _on_pretrained(args: FinenerArguments) -> FinenerForTokenClassification:
    if not args.model:
        raise ArgumentError(
            f"model is not set: {args.phase} starts from a pre-trained finener model, e.g. model: outputs/pretrained"
        )
    free = () if args.phase == "pretrain" else CONVERSION_KNOBS
    fixed = sorted(set(args.knobs) - set(free))
    if fixed:
        raise ArgumentError(
            f"knobs {fixed} were fixed by pre-training; fine-tuning may set {', '.join(CONVERSION_KNOBS)}"
        )
    try:
        return FinenerForTokenClassification.from_pretrained(args.model)
    except OSError as error:
        raise ArgumentError(f"model {args.model!r} is neither a folder here nor can it be fetched: {error}") from error


def _trained_on(args: FinenerArguments) -> FinenerForTokenClassification:
    """A pre-trained model that pre-training goes on with."""
    if args.encoder:
        raise ArgumentError(
            "pretrain makes a new model on encoder or goes on with model; both are set: leave one of them out"
        )
    model = _on_pretrained(args)
    if model.conversion is not None:
        raise ArgumentError(
            f"model {args.model!r} has target types; pretrain goes on with a model as it was before fine-tuning"
        )
    if args.ontology and read_ontology(args.ontology, "ontology").to_dict() != model.config.ontology.to_dict():
        raise ArgumentError(
            f"ontology {args.ontology!r} has other types than model {args.model!r}, which keeps those that it was made with: "
            "leave ontology out"
        )
    return model


def freeze_parts(model: FinenerForTokenClassification, settings: TrainerSettings) -> None:
    """Takes out of training what the settings say, beside what is frozen already. Raises ArgumentError on what can't be."""
    if settings.freeze not in FREEZABLE:
        raise ArgumentError(f"freeze must be one of {', '.join(FREEZABLE)}; got {settings.freeze!r}")
    try:
        if settings.freeze != "nothing":
            model.freeze(settings.freeze, settings.unfreeze_layers)
        elif settings.unfreeze_layers:
            raise ValueError("unfreeze_layers needs freeze: encoder; nothing is frozen")
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    if settings.encoder_learning_rate is not None and is_frozen(model.encoder):
        raise ArgumentError(
            f"encoder_learning_rate has no effect with freeze: {settings.freeze}: unfreeze some layers, or set freeze: nothing"
        )


def read_dtype(name: str) -> torch.dtype | None:
    """What ``encoder_dtype`` names, None for that of the weights. Raises ArgumentError on what is not there."""
    if name not in ENCODER_DTYPES:
        raise ArgumentError(f"encoder_dtype must be one of {', '.join(ENCODER_DTYPES)}; got {name!r}")
    return ENCODER_DTYPES[name]


def set_below_gold_weight(model: FinenerForTokenClassification, weight: float, typing_weight: float) -> None:
    """What types below the gold ones weigh in the typing loss, until the model is loaded again.

    Raises ArgumentError outside [0, 1], or where ``typing_weight`` is 0, so that it would have no effect.
    """
    if not 0.0 <= weight <= 1.0:
        raise ArgumentError(f"below_gold_weight must lie in [0, 1]; got {weight}")
    if weight != 1.0 and not typing_weight:
        raise ArgumentError(
            "below_gold_weight is of the source types, which are not trained here: set typing_weight, or leave it out"
        )
    model.type_head.below_gold_weight = weight


def default_weights(model: FinenerForTokenClassification, settings: TrainerSettings) -> dict[str, float]:
    """The weight of each loss part: as set; else 1, and 0 for detection that is frozen and for source types beside target types.

    Raises ArgumentError on ``memory_weight`` without target types, or below 0.
    """
    has_target, detection = model.conversion is not None, settings.detection_weight
    typing = settings.typing_weight
    if not settings.memory_weight >= 0:
        raise ArgumentError(f"memory_weight must be at least 0; got {settings.memory_weight}")
    if settings.memory_weight and not has_target:
        raise ArgumentError(
            "memory_weight keeps what fine-tuning would forget: leave it out of pretrain, or give the model target types by add_conversion"
        )
    if detection is None:
        detection = 0.0 if all(map(is_frozen, (model.lstm, model.tagger, model.crf))) else 1.0
    if typing is None:
        typing = 0.0 if has_target else 1.0
    conversion = settings.conversion_weight if has_target else 0.0
    return {"detection": detection, "typing": typing, "conversion": conversion, "memory": settings.memory_weight}


def is_frozen(part: nn.Module) -> bool:
    """Whether no parameter of a part is trained."""
    return not any(p.requires_grad for p in part.parameters())


def set_soft_loss_weights(
    args: FinenerArguments, model: FinenerForTokenClassification, dev: list[dict], device: str
) -> None:
    """Gives the model the W of the file or of the model that ``soft_loss_weights`` names.

    A model tells it by its confusions: it types the gold mentions of the dev records; see :func:`estimate_credit`.

    Raises:
        ArgumentError: on a bad file, a model with other target types, or when no dev mention has any.
    """
    place, ontology, config = Path(args.soft_loss_weights), model.config.target_ontology, model.config
    try:
        if place.suffix in (".tsv", ".json", ".npy"):
            if "soft_loss_decay" in args.knobs:
                raise ArgumentError(f"W comes from {place}: leave soft_loss_decay out of the knobs")
            weights = credit_matrix(read_credit(place, ontology), len(ontology))
        else:
            pipe = load_pipeline(str(place), device)
            known = pipe.model.config.target_ontology
            if known is None or known.digest != ontology.digest:
                raise ArgumentError(f"the model {place} has other target types than {ontology.name!r}")
            gold = typed_with(dev, ontology)
            predicted = predict_records(pipe, gold, head="target", gold_mentions=True)
            weights = estimate_credit(gold, predicted, ontology, ontology.soft_label_weights(config.soft_loss_decay))
        model.set_soft_loss_weights(weights)
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"soft_loss_weights: expected a .tsv, .json or .npy file, or a model of the same target types: {error}"
        ) from error


def start_at_shares(model: FinenerForTokenClassification, shares: Tensor) -> None:
    """Starts the biases of the head that is trained, the conversion head where there is one, at how often each type is gold.

    So that rare types need not be pushed down first (Lin et al. 2017, Focal Loss, section 3.3, with a prior for each type).

    Args:
        model: whose biases start there.
        shares: (C) or (K), in (0, 1): part of the mentions that are of each type; with softmax, of which it is a most specific type.

    Raises:
        ValueError: on another shape or a share that is 0, 1 or beyond.
    """
    score = (model.type_head if model.conversion is None else model.conversion).score
    if shares.shape != score.bias.shape or not ((shares > 0) & (shares < 1)).all():
        raise ValueError(f"expected {len(score.bias)} shares between 0 and 1, got {tuple(shares.shape)}")
    is_softmax = model.conversion is not None and model.conversion.one_type
    score.bias.data.copy_(shares.log() if is_softmax else shares.logit())


def start_at_mapping(model: FinenerForTokenClassification, mapping: TypeMapping) -> int:
    """Starts target types at the source types that a table maps to them: vectors and biases at their mean, by the table's weights.

    So fine-tuning begins with what pre-training knows of them. Of several source types in one line of descent only the most general
    counts, whatever their weights, as its score is that of those below it too. A type that the table gives nothing starts at the
    mean of its children, and without those where it was.

    Args:
        model: whose target types start there.
        mapping: from this model's source types to its target types.

    Returns:
        How many types now start at source types.

    Raises:
        ValueError: without a conversion head with ``conversion_skip``, or when the table is of other types.
    """
    if model.conversion is None or not model.conversion.skip:
        raise ValueError(
            "a mapping gives target vectors only where they meet the source head's, which have not the encoder's size here: pre-train "
            "with type_start: names"
        )
    own = [model.config.ontology.digest, model.config.target_ontology.digest]
    if [mapping.source.digest, mapping.target.digest] != own:
        raise ValueError(
            f"the mapping goes {mapping.source.name} → {mapping.target.name}, not between this model's types"
        )
    shares = mapping.mean_weights().to(model.device, model.dtype)
    is_mapped = shares.any(1)
    source, score = model.type_head.score, model.conversion.score
    with torch.no_grad():
        score.weight[is_mapped] = (shares @ source.weight)[is_mapped]
        score.bias[is_mapped] = (shares @ source.bias)[is_mapped]
    return int(is_mapped.sum())


def start_at_table(path: str | None, model: FinenerForTokenClassification, tokenizer: PreTrainedTokenizerBase) -> None:
    """Starts target types at the source types of a table, without one at those of the nearest names.

    Raises ArgumentError on a model that can't, or on names that can't be compared.
    """
    target = model.config.target_ontology
    try:
        if path:
            table = TypeMapping.from_tsv(path, model.config.ontology, target)
        else:
            table = map_by_names(model, tokenizer, target)
        n_mapped = start_at_mapping(model, table)
    except ValueError as error:
        raise ArgumentError(f"type_start: mapping: {error}") from error
    if PartialState().is_main_process:
        print(f"{n_mapped} of {len(target)} target types start at source types")


def type_shares(records: Iterable[dict], ontology: Ontology, *, most_specific: bool) -> torch.Tensor:
    """Part of the typed mentions that are of each type, (C) in (0, 1): as if one more mention were, and one more were not.

    Args:
        records: that train; those typed with ``ontology`` count.
        ontology: with C types.
        most_specific: leave out ancestors; several most specific types of a mention share it.
    """
    counts, mentions = torch.zeros(len(ontology)), 0
    for mention in (m for r in typed_with(records, ontology) for m in r["mentions"] if m["types"]):
        own = list(map(ontology.index, mention["types"]))
        found = ontology.most_specific_indices(own) if most_specific else ontology.closure_indices(own)
        counts[found] += 1 / len(found) if most_specific else 1.0
        mentions += 1
    return (counts + 1) / (mentions + 2)
