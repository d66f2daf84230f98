"""A small pipeline of spaCy: its default named-entity recognizer, a convolutional network over hashed words, with random weights."""

import spacy
from spacy.training import Example

PACKAGES = ("spacy", "thinc", "numpy")


def prepare(settings):
    """``read(texts, batch_size)``.

    Args:
        settings: ``labels``, their names; ``texts``, on which the network is initialized.
    """
    spacy.util.fix_random_seed(1)
    nlp = spacy.blank("en")
    recognizer = nlp.add_pipe("ner")
    for label in settings["labels"]:
        recognizer.add_label(label)
    nlp.initialize(lambda: [Example.from_dict(nlp.make_doc(text), {"entities": []}) for text in settings["texts"]])

    def read(texts, batch_size):
        return {"mentions": sum(len(doc.ents) for doc in nlp.pipe(texts, batch_size=batch_size))}

    return {"read": read}
