"""What tags cost: a CRF whose tags carry the types, beside finener's of three tags with a type head.

Each function gives the processor's seconds of a batch: ``training``, the likelihood and its gradients, and ``decoding``, the best tags and,
with a type head, the types of the mentions.
"""

import statistics
import time

import torch
from torchcrf import CRF

from finener.benchmarks.inference_speed import with_types
from finener.decoding_finener import type_decoder
from finener.layers_finener import TAGS, LinearChainCRF
from finener.prediction.records import load_pipeline

PACKAGES = ("pytorch-crf", "torch")
SENTENCES, WORDS, MENTIONS = 32, 28, 96
GOLD_TYPES = 6  # of a mention, with ancestors
THRESHOLD = 0.5
TIMES = 3


def seconds(run):
    """The median seconds of a few calls."""
    times = []
    for _ in range(TIMES):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def mention_states(pipe, texts):
    """What the type head sees of the mentions in texts, as (MENTIONS, H), repeated where there are fewer."""
    seen = []
    hook = pipe.model.type_head.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    pipe(texts)
    hook.remove()
    states = torch.cat(seen)
    return states[torch.arange(MENTIONS) % len(states)].clone().requires_grad_()


def prepare(settings):
    """``typed(tags)``, ``untyped()`` and ``finener(types)``.

    Args:
        settings: ``model``, a folder, numbers of ``types``, and ``texts``, whose mentions are typed.
    """
    torch.set_num_threads(1)
    torch.manual_seed(1)
    pipe = load_pipeline(settings["model"], "cpu")
    states = mention_states(pipe, settings["texts"])
    heads = {size: with_types(pipe, size).model for size in settings["types"]}
    mask = torch.ones(SENTENCES, WORDS, dtype=torch.bool)

    def inputs(n_tags):
        return torch.randn(SENTENCES, WORDS, n_tags, requires_grad=True), torch.zeros(
            SENTENCES, WORDS, dtype=torch.long
        )

    def typed(tags):
        crf, (emissions, gold) = CRF(tags, batch_first=True), inputs(tags)

        def decode():
            with torch.no_grad():
                crf.decode(emissions, mask)

        return {"training": seconds(lambda: crf(emissions, gold, mask).neg().backward()), "decoding": seconds(decode)}

    def untyped():
        crf, (emissions, gold) = LinearChainCRF(), inputs(len(TAGS))
        for scores in crf.parameters():
            torch.nn.init.zeros_(scores)
        return {
            "training": seconds(lambda: crf.nll(emissions, gold, mask).sum().backward()),
            "decoding": seconds(lambda: crf.decode(emissions, mask)),
        }

    def finener(types):
        model = heads[types]
        head, decoder = model.type_head, type_decoder(model.config.ontology, torch.device("cpu"))
        gold = torch.randint(types, (MENTIONS, GOLD_TYPES))

        def decode():
            with torch.no_grad():
                decoder.choose(head(states)[0], THRESHOLD)

        own, tags = (
            {
                "training": seconds(lambda: head.loss(head(states)[0], gold)[0].sum().backward()),
                "decoding": seconds(decode),
            },
            untyped(),
        )
        return {name: own[name] + tags[name] for name in own}

    return {"typed": typed, "untyped": untyped, "finener": finener}
