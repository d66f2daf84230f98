"""Small things built in code: type systems, tokenizers of every kind that the pipeline reads, encoders and models."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from finener.configuration_finener import FinenerConfig
from finener.layers_finener import B, I, O
from finener.modeling_finener import FinenerForTokenClassification, FinenerOutput
from finener.ontology_finener import EntityType, Ontology
from finener.windows_finener import TextEncoder

# Text → each mention with its type in "src" and in "tgt".
GOLD = {
    "Frida Kahlo painted in Mexico City.": {
        "Frida Kahlo": ("artist", "per.artist.painter"),
        "Mexico City": ("place", "loc.city.capital"),
    },
    "The Louvre bought a portrait by Leonardo da Vinci in 1518.": {
        "Louvre": ("artmuseum", "org"),
        "Leonardo da Vinci": ("artist", "per.artist.painter"),
    },
    "Angela Merkel visited the offices of Acme Corp. in New York!": {
        "Angela Merkel": ("person", "per.politician"),
        "Acme Corp.": ("company", "org.company"),
        "New York": ("place", "loc.city"),
    },
    "Nobody came.": {},
}
MAX_TOKENS = 64  # positions of the tiny encoder
CHARACTERS = string.ascii_letters + string.digits + string.punctuation + "éüñß°東京都市山"


# -------------------------------------------------------------------- type systems


def two_parent_ontology() -> Ontology:
    """Source types "src": 10 types, two roots; ``museum`` has two parents, four and two levels below the roots."""
    rows = {
        "physical": (),
        "abstract": (),
        "person": ("physical",),
        "artist": ("person",),
        "organization": ("abstract",),
        "place": ("physical",),
        "building": ("place",),
        "museum": ("building", "organization"),
        "artmuseum": ("museum",),
        "company": ("organization",),
    }
    return Ontology("src", [EntityType(i, i, parents) for i, parents in rows.items()], "made for tests")


def target_ontology() -> Ontology:
    """Target types "tgt": a tree of 3 levels, 10 types; ``per.artist`` is not assignable."""
    ids = (
        "per",
        "per.artist",
        "per.artist.painter",
        "per.artist.singer",
        "per.politician",
        "org",
        "org.company",
        "loc",
        "loc.city",
        "loc.city.capital",
    )
    return Ontology(
        "tgt",
        [EntityType(i, i.split(".")[-1], (i.rpartition(".")[0],) if "." in i else (), i != "per.artist") for i in ids],
    )


# -------------------------------------------------------------------- tokenizers


def wordpiece_tokenizer(lowercase: bool) -> PreTrainedTokenizerFast:
    """As of BERT, cased or uncased: single characters and a few whole words."""
    words = ["the", "of", "in", "a", "by", "The", "New", "York", "new", "york", "##ed", "##ing", "##er"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS, *(f"##{c}" for c in CHARACTERS), *words]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(dict.fromkeys(pieces))}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", [("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=MAX_TOKENS,
    )


def bpe_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE as of RoBERTa; a character beyond ASCII is several sub-tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*GOLD, "etc.), said; (U.S.) ... and so on ..."] * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return _sentence_piece_like(tokenizer)


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """Unigram as of XLM-R: it normalises with NFKC, and some pieces span several words."""
    pieces = {c: -8.0 for c in CHARACTERS}
    pieces |= {"▁": -4.0, "▁the": -3.0, "▁in": -3.0, "ing": -5.0, ".,": -5.0, "...": -5.0, "▁U.S.": -6.0, "'s": -5.0}
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), *pieces.items(), ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 2)]
    )
    return _sentence_piece_like(tokenizer)


def _sentence_piece_like(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=MAX_TOKENS,
    )


TOKENIZERS = {
    "wordpiece-cased": lambda: wordpiece_tokenizer(lowercase=False),
    "wordpiece-uncased": lambda: wordpiece_tokenizer(lowercase=True),
    "bpe": bpe_tokenizer,
    "unigram": unigram_tokenizer,
}


# -------------------------------------------------------------------- encoders and models


def encoder_config(tokenizer: PreTrainedTokenizerFast) -> BertConfig:
    """Two layers of 16 units; weights large enough to tell words apart."""
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
    )


def save_tiny_encoder(folder: str | Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Saves a random BERT encoder (seed 0) with its tokenizer, as a checkpoint from the Hub would lie on disk."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(encoder_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def tiny_model(tokenizer: PreTrainedTokenizerFast, target: bool = False, **knobs: Any) -> FinenerForTokenClassification:
    """A random model (seed 0) in evaluation mode, with a conversion head when ``target``; ``knobs`` are the config's."""
    knobs = {
        "encoder_config": encoder_config(tokenizer),
        "ontology": two_parent_ontology(),
        "lstm_hidden_size": 8,
        "type_prior": 3.0,
    } | knobs
    if target:
        knobs = {"target_ontology": target_ontology(), "conversion_hidden_size": 12} | knobs
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FinenerForTokenClassification(FinenerConfig(**knobs))
        with torch.no_grad():
            for name, module in model.named_modules():  # weights large enough to tell mentions apart
                if isinstance(module, nn.Linear) and not name.startswith("encoder.") and name != "conversion.hidden":
                    module.weight.mul_(15)
            for scores in model.crf.parameters():  # they start at zero, which would hide a mistake
                scores.normal_(std=0.5)
            model.tagger.weight.mul_(10)  # so that words differ in their tags, and some begin a mention
            model.tagger.bias[B] = 1.0
    return model.eval()


# -------------------------------------------------------------------- batches


def text_batch(
    model: FinenerForTokenClassification, tokenizer: PreTrainedTokenizerFast, *texts: str
) -> dict[str, Tensor]:
    """What ``forward`` needs of texts that fit one window each."""
    encoder = TextEncoder(tokenizer, model.config)
    windows = [encoder.windows(encoder.encode(text), 0) for text in texts]
    assert all(len(of_text) == 1 for of_text in windows)
    return encoder.pad([of_text[0] for of_text in windows])


def gold_batch(
    model: FinenerForTokenClassification,
    tokenizer: PreTrainedTokenizerFast,
    gold: Mapping[str, Mapping[str, tuple[str, str]]] = GOLD,
) -> dict[str, Tensor]:
    """``text_batch`` of the texts of ``gold`` with all labels; target labels only where the model has a conversion head."""
    config, encoder = model.config, TextEncoder(tokenizer, model.config)
    batch = text_batch(model, tokenizer, *gold)
    batch["labels"] = torch.where(batch["word_starts"] >= 0, O, -100)
    most = max(1, *map(len, gold.values()))
    batch["mention_spans"] = torch.full((len(gold), most, 2), -1)
    batch["type_labels"] = torch.full((len(gold), most, len(config.ontology)), -1)
    if config.target_ontology is not None:
        batch["target_type_labels"] = torch.full((len(gold), most, len(config.target_ontology)), -1)
    for record, (text, mentions) in enumerate(gold.items()):
        words = encoder.encode(text).words
        for place, (name, (source, target)) in enumerate(mentions.items()):
            start = text.index(name)
            inside = [i for i, (s, e) in enumerate(words) if start <= s and e <= start + len(name)]
            batch["labels"][record, inside] = I
            batch["labels"][record, inside[0]] = B
            batch["mention_spans"][record, place] = torch.tensor([inside[0], inside[-1] + 1])
            closed = config.ontology.closure_indices([config.ontology.index(source)])
            batch["type_labels"][record, place, : len(closed)] = torch.tensor(closed)
            if config.target_ontology is not None:
                own = [config.target_ontology.index(target)]
                if config.target_activation == "sigmoid":
                    own = config.target_ontology.closure_indices(own)
                batch["target_type_labels"][record, place, : len(own)] = torch.tensor(own)
    return batch


# -------------------------------------------------------------------- what tests of models share

# Knobs that change what the model is made of.
VARIANTS = {
    "default": {},
    "target": {"target": True},
    "layers, shapes": {"encoder_layers": (0, 1, 2), "use_word_shape": True},
    "projected": {"encoder_layers": (-1, 1), "type_vector_size": 6},
    "everything": {
        "target": True,
        "encoder_layers": (-1, 0, 1),
        "use_word_shape": True,
        "mention_state": "lstm+encoder",
        "type_vector_size": 5,
        "conversion_input": "logits+mention",
        "target_activation": "sigmoid",
    },
    "raw logits": {"target": True, "conversion_norm": False, "target_vector_size": 7},
    "mention alone": {"target": True, "conversion_input": "mention", "lstm_layers": 1},
}
SHORT, LONG, EMPTY = "The new museum of York", "The Louvre bought a portrait by Leonardo.", " "


@torch.no_grad()
def outputs(model: FinenerForTokenClassification, tokenizer, *texts: str) -> FinenerOutput:
    """What the model says of some texts."""
    return model(**text_batch(model, tokenizer, *texts))


def close(found: Tensor, expected: Tensor) -> None:
    """Equal but for the order in which floats were summed."""
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def train(model: FinenerForTokenClassification, batch: dict[str, Tensor], steps: int, lr: float = 0.01) -> None:
    """Some steps with every label, dropout as configured."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(steps):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            optimizer.step()
    model.eval()


def gold_of(model: FinenerForTokenClassification) -> list[int]:
    """The target type of each mention of ``GOLD``."""
    return [model.config.target_ontology.index(t) for names in GOLD.values() for _, t in names.values()]
