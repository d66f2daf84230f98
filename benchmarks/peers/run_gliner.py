"""GLiNER's span architecture on a given encoder; the layers above it have random weights."""

import torch
from gliner import GLiNER, GLiNERConfig

from calibration import strictness

PACKAGES = ("gliner", "torch", "transformers", "tokenizers", "numpy")
FIRST_TEXTS = 8  # on which the threshold is set


def prepare(settings):
    """``read(labels, texts, batch_size)``: texts with the first so many labels.

    Args:
        settings: ``encoder``, a folder; ``labels``, their names; ``numbers`` of labels; ``texts`` and their ``mentions``, so many.
    """
    torch.set_num_threads(1)
    torch.manual_seed(1)
    config = GLiNERConfig(model_name=settings["encoder"], span_mode="markerV0", max_len=384)
    model = GLiNER.from_config(config, backbone_from_pretrained=True)
    texts = settings["texts"][:FIRST_TEXTS]
    wanted = round(settings["mentions"] * len(texts) / len(settings["texts"]))

    def found(labels, texts, threshold, batch_size):
        return sum(
            map(len, model.inference(texts, settings["labels"][:labels], threshold=threshold, batch_size=batch_size))
        )

    thresholds = {
        n: strictness(lambda value, n=n: found(n, texts, value, len(texts)), wanted, 0.0, 1.0)
        for n in settings["numbers"]
    }

    def read(labels, texts, batch_size):
        return {"mentions": found(labels, texts, thresholds[labels], batch_size)}

    return {"read": read}
