"""GLiNER's span architecture on a given encoder; the layers above it have random weights."""

import torch
from gliner import GLiNER, GLiNERConfig

from calibration import strictness

PACKAGES = ("gliner", "torch", "transformers", "tokenizers", "numpy")
FIRST_TEXTS = 8  # on which the threshold is set


def prepare(settings):
    """``read(labels, texts, batch_size)``: texts with the first so many labels; and ``save(folder)``, which tells the thresholds.

    Args:
        settings: ``labels``, their names; ``encoder``, a folder; ``numbers`` of labels; ``texts`` and their ``mentions``, so many. Or
            ``labels``; ``folder``, that of a saved model; its ``thresholds``.
    """
    torch.set_num_threads(1)
    torch.manual_seed(1)
    if "folder" in settings:
        model = GLiNER.from_pretrained(settings["folder"], local_files_only=True)
    else:
        config = GLiNERConfig(model_name=settings["encoder"], span_mode="markerV0", max_len=384)
        model = GLiNER.from_config(config, backbone_from_pretrained=True)

    def found(labels, texts, threshold, batch_size):
        return sum(
            map(len, model.inference(texts, settings["labels"][:labels], threshold=threshold, batch_size=batch_size))
        )

    def strict(number, mentions, texts, **_):
        first = texts[:FIRST_TEXTS]
        wanted = round(mentions * len(first) / len(texts))
        return strictness(lambda value: found(number, first, value, len(first)), wanted, 0.0, 1.0)

    thresholds = settings.get("thresholds") or {str(n): strict(n, **settings) for n in settings["numbers"]}

    def read(labels, texts, batch_size):
        return {"mentions": found(labels, texts, thresholds[str(labels)], batch_size)}

    def save(folder):
        model.save_pretrained(folder, safe_serialization=True)
        return {"thresholds": thresholds}

    return {"read": read, "save": save}
