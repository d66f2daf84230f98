"""Configuration of finener models: every knob in one place, the type systems in ``ontology.json`` beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig
from transformers.utils import cached_file

from .ontology_finener import ONTOLOGY_NAME, Ontology, OntologyError, Threshold

TAGS = ("O", "B", "I")

_CHOICES = {
    "encoder_layer_mix": ("concat", "learned"),
    "mention_pooling": ("mean", "max", "first"),
    "mention_state": ("lstm", "lstm+encoder"),
    "conversion_input": ("logits", "mention", "logits+mention"),
    "target_activation": ("softmax", "sigmoid"),
}
_UNIT_INTERVAL = (
    "encoder_dropout",
    "lstm_dropout",
    "detection_threshold",
    "soft_loss_decay",
)
_POSITIVE = ("type_prior", "initializer_range")
_SIZES = ("lstm_hidden_size", "lstm_layers", "conversion_hidden_size", "window_words")
_OPTIONAL_SIZES = ("type_vector_size", "target_vector_size")
_SWITCHES = ("use_word_shape", "conversion_norm", "conversion_skip")


def _is_number(value: Any, kind: type | tuple[type, ...] = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


class FinenerConfig(PretrainedConfig):
    """Everything that determines a finener model's shape and its decoding.

    Defaults are those of the paper (Hagiwara et al. 2019) where it states them, but for ``conversion_norm``, which the paper does not have.

    Args:
        encoder_config: config of any ``AutoModel`` text encoder, as an object or a dict with ``model_type``.
        ontology: source types (C of them, "yago").
        target_ontology: target types (K of them, "aida"), or None before fine-tuning.
        encoder_layers: hidden layers whose states form the word state; 0 is the embedding layer, negative counts from the end.
        encoder_layer_mix: ``concat`` them, or a ``learned`` softmax-weighted mean.
        use_word_shape: join capitals, digits and punctuation to the word state, for encoders that lower-case.
        encoder_dropout, lstm_dropout: dropout probability before and after the BiLSTM.
        lstm_hidden_size: units per direction.
        lstm_layers: number of BiLSTM layers.
        mention_pooling: how a mention pools its words' states (the paper leaves it open).
        mention_state: pool the BiLSTM states (paper), or those joined by the words' encoder states.
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
        soft_loss_decay: share of credit that a prediction keeps per level that it is too general; 0 is plain cross entropy. It fills
            the W of a new conversion head; training may put another W in its place, which is then stored with the weights.
        detection_threshold: least span probability of a mention that is returned.
        type_threshold: least score of a source type that is returned, as a number or by level and type (see
            ``Ontology.thresholds``; ``python -m metrics calibrate`` finds them); every mention gets at least one path.
        target_type_threshold: the same for target types. None: 0 with softmax, which keeps the whole path of the best type, and 0.5 with
            sigmoid.
        window_words: most words in one window; longer text is read in overlapping windows.
        window_overlap: words that neighbouring windows share.
        initializer_range: standard deviation of new linear layers.

    Raises:
        ValueError: on a value out of range or of the wrong kind; the message names the knob and what it takes.
    """

    model_type = "finener"
    sub_configs = {"encoder_config": AutoConfig}

    def __init__(
        self,
        encoder_config: PretrainedConfig | dict | None = None,
        ontology: Ontology | dict | None = None,
        target_ontology: Ontology | dict | None = None,
        encoder_layers: Sequence[int] = (-1,),
        encoder_layer_mix: str = "concat",
        use_word_shape: bool = False,
        encoder_dropout: float = 0.5,
        lstm_hidden_size: int = 200,
        lstm_layers: int = 2,
        lstm_dropout: float = 0.5,
        mention_pooling: str = "mean",
        mention_state: str = "lstm",
        type_vector_size: int | None = None,
        type_prior: float = 8.0,
        conversion_input: str = "logits",
        conversion_norm: bool = True,
        conversion_hidden_size: int = 200,
        target_vector_size: int | None = None,
        conversion_skip: bool = False,
        target_activation: str = "softmax",
        soft_loss_decay: float = 0.5,
        detection_threshold: float = 0.0,
        type_threshold: Threshold = 0.5,
        target_type_threshold: Threshold | None = None,
        window_words: int = 128,
        window_overlap: int = 32,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ):
        if isinstance(encoder_config, dict) and "model_type" in encoder_config:
            encoder_config = AutoConfig.for_model(**encoder_config)
        self.encoder_config = encoder_config if encoder_config is not None else AutoConfig.for_model("bert")
        self.ontology = Ontology.from_dict(ontology) if isinstance(ontology, dict) else ontology
        self.target_ontology = (
            Ontology.from_dict(target_ontology) if isinstance(target_ontology, dict) else target_ontology
        )
        self.encoder_layers = list(encoder_layers) if isinstance(encoder_layers, Sequence) else encoder_layers
        self.encoder_layer_mix = encoder_layer_mix
        self.use_word_shape = use_word_shape
        self.encoder_dropout = encoder_dropout
        self.lstm_hidden_size = lstm_hidden_size
        self.lstm_layers = lstm_layers
        self.lstm_dropout = lstm_dropout
        self.mention_pooling = mention_pooling
        self.mention_state = mention_state
        self.type_vector_size = type_vector_size
        self.type_prior = type_prior
        self.conversion_input = conversion_input
        self.conversion_norm = conversion_norm
        self.conversion_hidden_size = conversion_hidden_size
        self.target_vector_size = target_vector_size
        self.conversion_skip = conversion_skip
        self.target_activation = target_activation
        self.soft_loss_decay = soft_loss_decay
        self.detection_threshold = detection_threshold
        self.type_threshold = type_threshold
        if target_type_threshold is None:
            target_type_threshold = 0.5 if target_activation == "sigmoid" else 0.0
        self.target_type_threshold = target_type_threshold
        self.window_words = window_words
        self.window_overlap = window_overlap
        self.initializer_range = initializer_range
        self._check()
        kwargs.update(id2label=dict(enumerate(TAGS)), label2id={tag: i for i, tag in enumerate(TAGS)})
        kwargs.pop("ontology_file", None)
        super().__init__(**kwargs)
        self.auto_map = {
            "AutoConfig": "configuration_finener.FinenerConfig",
            "AutoModel": "modeling_finener.FinenerForTokenClassification",
            "AutoModelForTokenClassification": "modeling_finener.FinenerForTokenClassification",
        }
        self.custom_pipelines = {
            "token-classification": {
                "impl": "pipeline_finener.FinenerPipeline",
                "pt": ["AutoModelForTokenClassification"],
                "type": "text",
            }
        }

    def _check(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        for name in _UNIT_INTERVAL:
            if not (_is_number(getattr(self, name)) and 0.0 <= getattr(self, name) <= 1.0):
                raise ValueError(f"{name} must lie in [0, 1]; got {getattr(self, name)!r}")
        for name in _POSITIVE:
            if not (_is_number(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a number greater than 0; got {getattr(self, name)!r}")
        for name in (*_SIZES, *(n for n in _OPTIONAL_SIZES if getattr(self, n) is not None)):
            if not (_is_number(getattr(self, name), int) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a whole number greater than 0; got {getattr(self, name)!r}")
        if not (_is_number(self.window_overlap, int) and 0 <= self.window_overlap < self.window_words):
            raise ValueError(
                f"window_overlap must lie in [0, window_words = {self.window_words}); got {self.window_overlap!r}"
            )
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False; got {getattr(self, name)!r}")
        for name in ("ontology", "target_ontology"):
            if isinstance(getattr(self, name), (str, os.PathLike)):
                raise ValueError(f"{name} must be an Ontology, as of Ontology.from_json; got {getattr(self, name)!r}")
        self._check_thresholds()
        if not isinstance(self.encoder_config, PretrainedConfig):
            raise ValueError(
                f"encoder_config must be a config or a dict with model_type; got {type(self.encoder_config).__name__}"
            )
        named = self.encoder_layers
        if not isinstance(named, list) or not named or not all(_is_number(layer, int) for layer in named):
            raise ValueError(f"encoder_layers must name at least one layer by its number, e.g. [-1]; got {named!r}")
        layers = self.encoder_config.num_hidden_layers
        for layer in self.encoder_layers:
            if not -layers - 1 <= layer <= layers:
                raise ValueError(f"encoder_layers: the encoder has the layers 0 (embeddings) … {layers}; got {layer}")

        if self.conversion_skip and (
            self.target_vector_size is None or self.target_vector_size != self.type_vector_size
        ):
            raise ValueError(
                "conversion_skip adds vectors of one size: target_vector_size must be type_vector_size; got "
                f"{self.target_vector_size} and {self.type_vector_size}"
            )

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
                    ontology.thresholds(threshold)
                except OntologyError as error:
                    raise ValueError(f"{name}: {error}") from None

    # ---------------------------------------------------------------- files

    def to_dict(self) -> dict[str, Any]:
        """The content of ``config.json``: the type systems are replaced by their file's name and their hashes."""
        content = super().to_dict()
        for part in (content, content["encoder_config"]):
            part.pop("_name_or_path", None)  # would tell the path of whoever trained it
        content.pop("ontology", None)
        content.pop("target_ontology", None)
        if self.ontology is not None:
            content["ontology_file"] = {
                "name": ONTOLOGY_NAME,
                "source": self.ontology.digest,
                "target": self.target_ontology.digest if self.target_ontology is not None else None,
            }
        return content

    def to_diff_dict(self) -> dict[str, Any]:
        """All knobs, defaults too: a model's folder tells everything by itself."""
        return self.to_dict()

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Writes ``config.json`` and, when there are types, ``ontology.json`` beside it."""
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        if self.ontology is not None:
            content = {
                "source": self.ontology.to_dict(),
                "target": self.target_ontology and self.target_ontology.to_dict(),
            }
            text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
            (Path(save_directory) / ONTOLOGY_NAME).write_text(text, encoding="utf-8")
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

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
        folder = str(pretrained_model_name_or_path)
        if os.path.isfile(folder):
            folder = os.path.dirname(folder)
        try:
            file = cached_file(folder, reference["name"], **location)
            content = json.loads(Path(file).read_text(encoding="utf-8"))
            for key, name in (("source", "ontology"), ("target", "target_ontology")):
                config[name] = content[key] and Ontology.from_dict(content[key])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OntologyError(
                f"{pretrained_model_name_or_path} has no readable {reference['name']}, the file that lists the types its weights were "
                f"trained with: copy it from where the model was saved, or save the model again with model.save_pretrained(…) ({error})"
            ) from error
        for key, name in (("source", "ontology"), ("target", "target_ontology")):
            found = config[name] and config[name].digest
            if found != reference[key]:
                raise OntologyError(
                    f"{reference['name']} of {pretrained_model_name_or_path} lists other {key} types (hash {found}) than the model was "
                    f"trained with (hash {reference[key]}): put the original file back"
                )
        return config, unused


FinenerConfig.register_for_auto_class()
