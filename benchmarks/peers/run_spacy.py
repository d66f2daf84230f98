"""A small pipeline of spaCy: its default named-entity recognizer, a convolutional network over hashed words, with random weights."""

import spacy
from spacy.training import Example

PACKAGES = ("spacy", "thinc", "numpy")


def prepare(settings):
    """``read(texts, batch_size)`` and ``save(folder)``.

    Args:
        settings: ``labels``, their names; ``texts``, on which the network is initialized. Or ``folder``, that of a saved pipeline.
    """
    nlp = spacy.load(settings["folder"]) if "folder" in settings else _initialized(**settings)

    def read(texts, batch_size):
        return {"mentions": sum(len(doc.ents) for doc in nlp.pipe(texts, batch_size=batch_size))}

    def save(folder):
        nlp.to_disk(folder)
        return {}

    return {"read": read, "save": save}


def _initialized(labels, texts):
    spacy.util.fix_random_seed(1)
    nlp = spacy.blank("en")
    recognizer = nlp.add_pipe("ner")
    for label in labels:
        recognizer.add_label(label)
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc(text), {"entities": []}) for text in texts])
    return nlp
