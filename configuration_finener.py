"""Configuration of finener models: every knob in one place, the type systems in ``ontology.json`` beside it."""

from __future__ import annotations

import copy
import difflib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, PretrainedConfig
from transformers.utils import cached_file
from transformers.utils.hub import extract_commit_hash

from .decoding_finener import Threshold, read_threshold
from .json_finener import read_json
from .ontology_finener import ONTOLOGY_NAME, Ontology, OntologyError

# Those before do not copy all files of a local model's code, and their trainer is another.
if tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 11):
    raise ImportError(
        f"finener needs transformers >= 5.11, here is {transformers.__version__}: "
        "pip install --upgrade 'transformers>=5.11'"
    )

TAGS = ("O", "B", "I")

# What a saved model needs, for Inference Endpoints and Spaces: they install the requirements.txt of a repo.
REQUIREMENTS = (
    *("torch>=2.6", "transformers>=5.11", "tokenizers>=0.22.1", "huggingface_hub>=1.6"),
    *("safetensors>=0.5", "numpy>=2.0"),
)

# Knobs of models saved by earlier versions, each with the one value that this version still computes with.
_RETIRED = {"encoder_layer_mix": "concat", "mention_pooling": "mean", "initializer_range": 0.02}
# What transformers takes or writes beside the fields of its base class.
_OF_TRANSFORMERS = {
    *PretrainedConfig().to_dict(),
    *("_commit_hash", "attn_implementation", "auto_map", "custom_pipelines", "experts_implementation", "name_or_path"),
    *("num_labels", "ontology_file", "quantization_config", "torch_dtype"),
}

# knob → its key in ontology.json
_IN_ONTOLOGY_FILE = {"ontology": "source", "target_ontology": "target", "soft_loss_weights": "credit"}


class CreditRows(tuple):
    """Rows (gold, predicted, credit) of a sparse W. They never change, so copies of a config share them: W may be large."""

    def __deepcopy__(self, memo: dict) -> CreditRows:
        return self


class _Tasks(dict):
    """Pipelines by task. It has one, so that a task need not be named, and finds it by transformers' other name for it, too."""

    def __contains__(self, task: object) -> bool:
        return task == "ner" or super().__contains__(task)

    def __missing__(self, task: str) -> Any:
        if task != "ner":
            raise KeyError(task)
        return self["token-classification"]


def check_knobs(given: Iterable[str], known: Iterable[str], hint: str = "") -> None:
    """Raises ValueError naming the knobs of ``given`` that are not among ``known``, with what was probably meant."""
    known = set(known)
    for name in sorted(set(given) - known):
        close = difflib.get_close_matches(name, known, 1, 0.75)
        meant = f"; did you mean {close[0]!r}?" if close else hint or "; help(FinenerConfig) lists the knobs"
        raise ValueError(f"unknown knob {name!r}{meant}")


def _is_number(value: Any, kind: type | tuple[type, ...] = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return _is_number(value, int) and value > 0


# Which values knobs may have, how to say so, and the knobs.
_RULES: tuple[tuple[Callable[[Any], bool], str, str], ...] = (
    (
        lambda v: _is_number(v) and 0 <= v <= 1,
        "lie in [0, 1]",
        "encoder_dropout lstm_dropout detection_threshold soft_loss_decay",
    ),
    (lambda v: _is_number(v) and v > 0, "be a number greater than 0", "type_prior"),
    (_is_size, "be a whole number greater than 0", "lstm_hidden_size lstm_layers conversion_hidden_size window_words"),
    (lambda v: v is None or _is_size(v), "be a whole number greater than 0", "type_vector_size target_vector_size"),
    (lambda v: isinstance(v, PretrainedConfig), "be a config or a dict with model_type", "encoder_config"),
    (lambda v: isinstance(v, bool), "be True or False", "use_word_shape conversion_norm conversion_skip"),
    (
        lambda v: not isinstance(v, (str, os.PathLike)),
        "be an Ontology, as of Ontology.from_json",
        "ontology target_ontology",
    ),
    *(
        (choices.__contains__, f"be one of {', '.join(choices)}", name)
        for name, choices in {
            "mention_state": ("lstm", "lstm+encoder"),
            "conversion_input": ("logits", "mention", "logits+mention"),
            "target_activation": ("softmax", "sigmoid"),
            "target_decoding": ("best", "expected"),
        }.items()
    ),
)


class FinenerConfig(PretrainedConfig):
    """Everything that determines a finener model's shape and its decoding.

    Defaults are those of the paper (Hagiwara et al. 2019) where it states them, but for ``conversion_norm``, which the paper does not have.

    Args:
        encoder_config: config of any ``AutoModel`` text encoder, as an object or a dict with ``model_type``.
        ontology: source types (C of them, "yago").
        target_ontology: target types (K of them, "aida"), or None before fine-tuning.
        encoder_layers: hidden layers whose states, side by side, form the word state; 0: the embeddings, negative: from the end.
        use_word_shape: join capitals, digits and punctuation to the word state, for encoders that lower-case.
        encoder_dropout, lstm_dropout: dropout probability before and after the BiLSTM.
        lstm_hidden_size: units per direction.
        lstm_layers: number of BiLSTM layers.
        mention_state: mean of the words' BiLSTM states (paper, which leaves the pooling open), or that joined by their encoder states.
        type_vector_size: size of the vector that stands for a type; None: that of the mention state, so that the type head is the
            paper's one linear layer. Otherwise the mention state is projected to it first.
        type_prior: expected number of gold types of a mention, ancestors included; sets the type head's start bias to
            ``log(type_prior / C)`` so that the first loss does not grow with C.
        conversion_input: source ``logits`` (paper), the ``mention`` state, or both: ``logits+mention``.
        conversion_norm: bring the logits to zero mean and unit variance first (see ``ConversionHead``); the paper does not: False.
        conversion_hidden_size: hidden units of the conversion head.
        target_vector_size: size of the vector that stands for a target type, to which the hidden units are projected; None: the hidden
            units themselves (paper).
        conversion_skip: add the source type head's vector of the mention to what the target types are scored against, so that a new
            conversion head starts from what pre-training has learnt; ``target_vector_size`` is then ``type_vector_size``.
        target_activation: ``softmax`` (one target type for a mention, paper) or ``sigmoid`` (several).
        target_decoding: the one type of softmax is the ``best``, the likeliest (paper), or the one whose path has the highest ``expected``
            F1 of (mention, type) pairs, once the soft loss's credit for ancestors is taken back (see ``gold_probabilities``).
        soft_loss_decay: share of credit that a prediction keeps per level that it is too general; 0 is plain cross entropy.
        soft_loss_weights: rows (gold type's index, predicted type's, credit) of another W than that of ``soft_loss_decay``, each
            gold type's credits summing to one; see ``FinenerForTokenClassification.set_soft_loss_weights``. Kept in ``ontology.json``.
        detection_threshold: least span probability of a mention that is returned.
        type_threshold: least score of a source type that is returned, as a number or by level and type (see
            ``read_threshold``; ``python -m metrics calibrate`` finds them); every mention gets at least one path.
        target_type_threshold: the same for target types. None: 0 with softmax, which keeps the whole path of the best type, and 0.5 with
            sigmoid.
        window_words: most words in one window; longer text is read in overlapping windows.
        window_overlap: words that neighbouring windows share.
        **kwargs: what every config of transformers takes.

    Raises:
        ValueError: on an unknown knob, a value out of range or of the wrong kind; the message names the knob and what it takes.
    """

    model_type = "finener"
    sub_configs = {"encoder_config": AutoConfig}
    initializer_range = 0.02  # standard deviation of new linear layers, where transformers looks for it; not a knob

    def __init__(
        self,
        encoder_config: PretrainedConfig | dict | None = None,
        ontology: Ontology | dict | None = None,
        target_ontology: Ontology | dict | None = None,
        encoder_layers: Sequence[int] = (-1,),
        use_word_shape: bool = False,
        encoder_dropout: float = 0.5,
        lstm_hidden_size: int = 200,
        lstm_layers: int = 2,
        lstm_dropout: float = 0.5,
        mention_state: str = "lstm",
        type_vector_size: int | None = None,
        type_prior: float = 8.0,
        conversion_input: str = "logits",
        conversion_norm: bool = True,
        conversion_hidden_size: int = 200,
        target_vector_size: int | None = None,
        conversion_skip: bool = False,
        target_activation: str = "softmax",
        target_decoding: str = "best",
        soft_loss_decay: float = 0.5,
        soft_loss_weights: Iterable[tuple[int, int, float]] | None = None,
        detection_threshold: float = 0.0,
        type_threshold: Threshold = 0.5,
        target_type_threshold: Threshold | None = None,
        window_words: int = 128,
        window_overlap: int = 32,
        **kwargs: Any,
    ):
        given = {name: value for name, value in locals().items() if name in KNOBS}
        # Models with these knobs hold W among their weights.
        self._has_dense_credit = not _RETIRED.keys().isdisjoint(kwargs)
        self._check_kwargs(kwargs)
        vars(self).update(given)
        if isinstance(encoder_config, dict) and "model_type" in encoder_config:
            self.encoder_config = AutoConfig.for_model(**encoder_config)
        elif encoder_config is None:
            self.encoder_config = AutoConfig.for_model("bert")
        for name in ("ontology", "target_ontology"):
            if isinstance(given[name], dict):
                setattr(self, name, Ontology.from_dict(given[name]))
        if isinstance(encoder_layers, Sequence):
            self.encoder_layers = list(encoder_layers)
        self._check()
        self._commit_hash = kwargs.pop("_commit_hash", None)  # of the Hub repo that it was read from
        super().__init__(**kwargs)
        model, auto = "modeling_finener.FinenerForTokenClassification", "AutoModelForTokenClassification"
        self.auto_map = {"AutoConfig": "configuration_finener.FinenerConfig", "AutoModel": model, auto: model}
        pipeline = {"impl": "pipeline_finener.FinenerPipeline", "pt": [auto], "type": "text"}
        self.custom_pipelines = _Tasks({"token-classification": pipeline})

    @staticmethod
    def _check_kwargs(kwargs: dict[str, Any]) -> None:
        """Takes retired knobs out of ``kwargs``, and puts the tags in. Raises ValueError on what is not known."""
        for name, value in _RETIRED.items():
            if (given := kwargs.pop(name, value)) != value:
                raise ValueError(f"{name} is no knob any more: models are computed with {value!r}; got {given!r}")
        # A saved config holds what other versions of transformers and other tools put there, too.
        saved = "transformers_version" in kwargs
        others = {k for k in kwargs if saved and not difflib.get_close_matches(k, KNOBS, 1, 0.9)}
        check_knobs(kwargs, {*KNOBS, *_OF_TRANSFORMERS, *others})
        id2label, label2id = dict(enumerate(TAGS)), {tag: i for i, tag in enumerate(TAGS)}
        given = {int(i): tag for i, tag in (kwargs.get("id2label") or id2label).items()}
        if given != id2label or (kwargs.get("label2id") or label2id) != label2id or kwargs.pop("num_labels", 3) != 3:
            raise ValueError(
                f"num_labels, id2label and label2id are fixed: the tags are {', '.join(TAGS)}; types are the ontology's"
            )
        kwargs.update(id2label=id2label, label2id=label2id)
        kwargs.pop("ontology_file", None)

    def with_conversion(self, target_ontology: Ontology, **knobs: Any) -> FinenerConfig:
        """This config, its encoder's shared, for other target types: their threshold and W are not taken over from those before."""
        config = copy.copy(self)
        fresh = {"target_ontology": target_ontology, "target_type_threshold": None, "soft_loss_weights": None}
        vars(config).update(fresh | {"target_vector_size": None, "target_decoding": "best"} | knobs)
        config._check()
        return config

    def _check(self) -> None:
        if self.target_type_threshold is None:
            self.target_type_threshold = 0.5 if self.target_activation == "sigmoid" else 0.0
        if self.soft_loss_weights is not None:
            self.soft_loss_weights = CreditRows(map(tuple, self.soft_loss_weights))
        for is_right, must, names in _RULES:
            for name in names.split():
                if not is_right(getattr(self, name)):
                    raise ValueError(f"{name} must {must}; got {getattr(self, name)!r}")
        if self.target_decoding == "expected" and self.target_activation != "softmax":
            raise ValueError(
                "target_decoding: expected chooses one type of a softmax; with target_activation: sigmoid leave it at best, and let "
                "finener calibrate find the threshold"
            )
        if not (_is_number(self.window_overlap, int) and 0 <= self.window_overlap < self.window_words):
            most = f"[0, window_words = {self.window_words})"
            raise ValueError(f"window_overlap must lie in {most}; got {self.window_overlap!r}")
        self._check_thresholds()
        self._check_credit()
        named, last = self.encoder_layers, self.encoder_config.num_hidden_layers
        are_layers = isinstance(named, list) and all(_is_number(i, int) and -last - 1 <= i <= last for i in named)
        if not are_layers or not named:
            there = f"one or more of the encoder's layers, 0 (embeddings) … {last}, or negative, from the end"
            raise ValueError(f"encoder_layers must name {there}, e.g. [-1]; got {named!r}")
        sizes = self.target_vector_size, self.type_vector_size
        if self.conversion_skip and (None in sizes or sizes[0] != sizes[1]):
            what = "conversion_skip adds vectors of one size: target_vector_size must be type_vector_size"
            raise ValueError(f"{what}; got {sizes[0]} and {sizes[1]}")

    def _check_thresholds(self) -> None:
        for name, ontology in (("type_threshold", self.ontology), ("target_type_threshold", self.target_ontology)):
            threshold = getattr(self, name)
            by_type = isinstance(threshold, Mapping)
            if not by_type and not (_is_number(threshold) and 0.0 <= threshold <= 1.0):
                raise ValueError(
                    f"{name} must lie in [0, 1], or be a dict of default, levels and types; got {threshold!r}"
                )
            if by_type and ontology is not None:  # without types there is nothing to compare its ids with
                try:
                    read_threshold(threshold, ontology)
                except OntologyError as error:
                    raise ValueError(f"{name}: {error}") from None

    def _check_credit(self) -> None:
        """Holds the rows of W against the target types."""
        if self.soft_loss_weights is None:
            return
        size = len(self.target_ontology) if self.target_ontology is not None else 0
        for row in self.soft_loss_weights:
            if len(row) != 3 or not (0 <= row[0] < size and 0 <= row[1] < size and row[2] > 0):
                raise ValueError(
                    f"soft_loss_weights must be rows (gold, predicted, credit above 0) of the {size} target types; got {row}"
                )

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PretrainedConfig:
        """The encoder's config: it holds what transformers asks of a text model, such as the size of its vocabulary."""
        return self.encoder_config

    # ---------------------------------------------------------------- files

    def _knobs(self) -> dict[str, Any]:
        """Everything but the type systems and W, which :meth:`to_dict` tells whole and ``config.json`` by their file."""
        content = super().to_dict()
        content["encoder_config"].pop("_name_or_path", None)  # would tell the path of whoever trained it
        private = ("_name_or_path", "_commit_hash", "_has_dense_credit")
        return {k: v for k, v in content.items() if k not in (*private, *_IN_ONTOLOGY_FILE)}

    def _types(self) -> dict[str, Any]:
        """The content of ``ontology.json``: ``source``, ``target`` and, where there is a W of its own, ``credit``."""
        content = {key: getattr(self, name) for name, key in _IN_ONTOLOGY_FILE.items()}
        credit = content.pop("credit")
        return {k: o and o.to_dict() for k, o in content.items()} | ({} if credit is None else {"credit": credit})

    def to_dict(self) -> dict[str, Any]:
        """Everything, the type systems in their JSON form: :meth:`from_dict` gives an equal config."""
        types = self._types()
        return self._knobs() | {name: types.get(key) for name, key in _IN_ONTOLOGY_FILE.items()}

    def to_diff_dict(self) -> dict[str, Any]:
        """The content of ``config.json``: every knob, defaults too, and the type systems' file with their hashes."""
        content = self._knobs()
        if self.ontology is not None:
            content["ontology_file"] = {
                "name": ONTOLOGY_NAME,
                "source": self.ontology.digest,
                "target": self.target_ontology.digest if self.target_ontology is not None else None,
            }
        return content

    def to_json_file(self, json_file_path: str | os.PathLike, use_diff: bool = True) -> None:
        """Writes ``config.json`` and beside it ``requirements.txt`` and, when there are types, ``ontology.json``."""
        if self.ontology is not None:
            text = json.dumps(self._types(), ensure_ascii=False, separators=(",", ":"))
            Path(json_file_path).with_name(ONTOLOGY_NAME).write_text(text, encoding="utf-8")
        requirements = Path(json_file_path).with_name("requirements.txt")
        if not requirements.exists():  # one that is there may be somebody's own
            requirements.write_text("".join(f"{line}\n" for line in REQUIREMENTS), encoding="utf-8")
        super().to_json_file(json_file_path, use_diff)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> FinenerConfig:
        """As in transformers, but knobs among ``kwargs`` are checked like those given to the class."""
        own = {k: kwargs.pop(k) for k in KNOBS if k in kwargs and k != "encoder_config"}
        return super().from_dict({**config_dict, **own}, **kwargs)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> tuple[dict, dict]:
        """Reads ``config.json`` and the ``ontology.json`` that it names, from a folder or the Hub.

        Raises:
            OntologyError: when ``ontology.json`` is missing or is not the one that the weights were trained with.
        """
        where = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
        location = {key: kwargs[key] for key in where if kwargs.get(key) is not None}
        config, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        reference = config.get("ontology_file")
        if not reference:
            return config, unused
        if (
            not isinstance(reference, dict) or reference.get("name") != ONTOLOGY_NAME
        ):  # no other file, and none elsewhere
            raise OntologyError(
                f"ontology_file of {pretrained_model_name_or_path} must name {ONTOLOGY_NAME}, beside its config.json, and its hashes; "
                f"got {reference!r:.200}"
            )
        folder = str(pretrained_model_name_or_path)
        if os.path.isfile(folder):
            folder = os.path.dirname(folder)
        try:
            file = cached_file(folder, ONTOLOGY_NAME, **location)
            content = read_json(file)
            for key, name in (("source", "ontology"), ("target", "target_ontology")):
                config[name] = content[key] and Ontology.from_dict(content[key])
            config["soft_loss_weights"] = content.get("credit")
            config["_commit_hash"] = extract_commit_hash(file, None)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise OntologyError(
                f"{pretrained_model_name_or_path} has no readable {ONTOLOGY_NAME}, the file that lists the types its weights were "
                f"trained with: copy it from where the model was saved, or save the model again with model.save_pretrained(…) ({reason})"
            ) from error
        for key, name in (("source", "ontology"), ("target", "target_ontology")):
            if (found := config[name] and config[name].digest) != reference.get(key):
                raise OntologyError(
                    f"{ONTOLOGY_NAME} of {pretrained_model_name_or_path} lists other {key} types (hash {found}) than the model was "
                    f"trained with (hash {reference.get(key)}): put the original file back"
                )
        return config, unused


KNOBS = tuple(inspect.signature(FinenerConfig).parameters)[:-1]
# What fine-tuning may still set; the other knobs shape weights that pre-training has trained.
CONVERSION_KNOBS = tuple(
    k
    for k in KNOBS
    if k.startswith(("conversion_", "soft_loss_", "target_a", "target_d", "target_v")) or k.endswith("_threshold")
)
FinenerConfig.register_for_auto_class()
