"""What makes a model, a dataset and a Space fit for the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import RepoCard

from finener.json_finener import read_json
from finener.metrics.card import CardFacts, write_card
from finener.metrics.places import without_places
from finener.metrics.stock_card import write_stock_card
from finener.publishing.checks import check_compiles, check_loads
from finener.publishing.staging import CONFIGS, ReleaseError, Staged, check_places, need, stage, without_private_keys

SAVE = "save the model anew with model.save_pretrained(…) and tokenizer.save_pretrained(…), or trainer.save_model()"
UNTOLD = (None, "", "other", "unknown")  # licences that say nothing
SOME_MODEL = "user/my-model"  # in the README.md of a Space: stands for the model of whoever releases it


def stage_model(
    source: str | Path,
    target: Path,
    repo: str,
    *,
    facts: CardFacts | None = None,
    tag: str | None = None,
    card: str | Path | None = None,
    measured: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Staged, str]:
    """A model's folder as it goes up, with a card for this repo.

    Args:
        source: where it was saved.
        target: an empty folder.
        repo: ``user/name``.
        facts: what the results do not tell; what is not given here is that of the training's ``card:``.
        tag: that the card's code names; by default one made of the content.
        card: a README.md in place of the one that is made of the results.
        measured: see :func:`finener.metrics.card.write_card`.

    Returns:
        The folder, and the tag.

    Raises:
        ReleaseError: when something is missing, or a file names a place on this machine.
    """
    staged = stage(source, target, "model")
    need(staged, ["config.json"], f"{SAVE}, and give that folder as --model")
    config = read_json(staged.folder / "config.json")
    if config.get("auto_map"):
        code = {f"{name.partition('.')[0]}.py" for name in config["auto_map"].values()}
        need(staged, ["ontology.json", "handler.py", *sorted(code)], SAVE)
    for name in CONFIGS:
        staged.rewrite(name, without_private_keys)
    is_ours = (staged.folder / "results.json").is_file()
    results = read_json(staged.folder / "results.json") if is_ours else {}
    is_ours = results.keys() >= {"earlier", "config", "encoder", "test", "shown"}
    if is_ours:
        staged.rewrite("results.json", without_places)
    tag = tag or f"r{staged.digest()}"
    if card is not None:
        staged.write("README.md", Path(card).read_text(encoding="utf-8"))
    elif is_ours:
        (staged.folder / "README.md").unlink(missing_ok=True)  # a link into the source
        _write_card(staged, results, facts, repo=repo, revision=tag, measured=measured)
    else:
        need(
            staged,
            ["README.md"],
            "without results.json of a training there is no card to make: give one, --card README.md",
        )
    check_places(staged)
    return staged, tag


def _write_card(
    staged: Staged, results: Mapping[str, Any], facts: CardFacts | None, *, measured: Mapping | None, **places: str
) -> None:
    """The card of a training's results, or of a stock companion's."""
    if results.get("phase") != "stock":
        write_card(staged.folder, results, facts, measured=measured, **places)
    elif measured:
        raise ReleaseError(
            f"--scores: not for a stock companion; {staged.source} has its scores from finener export --test"
        )
    else:
        write_stock_card(staged.folder, results, facts, **places)


def stage_dataset(source: str | Path, target: Path, *, is_private: bool) -> Staged:
    """A dataset's folder as it goes up.

    Args:
        source: of ``finener build`` or ``finener silver``.
        target: an empty folder.
        is_private: nobody else will see it.

    Raises:
        ReleaseError: when something is missing, a file names a place on this machine, or its licence does not allow strangers.
    """
    staged = stage(source, target, "dataset")
    need(staged, ["README.md"], "expected a folder of finener build or finener silver")
    header = _header(staged)
    if header.get("license") in UNTOLD and not is_private:
        raise ReleaseError(
            f"the card of {staged.source} tells no licence under which others may read it (license: {header.get('license')}): "
            "say --private, or put the licence into its README.md"
        )
    check_places(staged)
    return staged


def stage_space(source: str | Path, target: Path, model: str | None = None) -> tuple[Staged, str]:
    """A Space's folder as it goes up, and what runs it (``sdk``), such as ``gradio``.

    Args:
        source: the Space's folder.
        target: an empty folder.
        model: ``user/name`` of the model that it shows, which its README.md then names; by default the README.md goes up as it is.

    Raises:
        ReleaseError: when something is missing, the app is no Python, a file names a place on this machine, or nobody has said which
            model the Space shows.
    """
    staged = stage(source, target, "space")
    need(staged, ["README.md", "app.py", "requirements.txt"], "a Space has these three, e.g. --space space")
    header = _header(staged)
    if not isinstance(header.get("sdk"), str):
        raise ReleaseError(f"{staged.source}/README.md must begin with a YAML header that has sdk: gradio")
    check_compiles(staged.folder / "app.py")
    _name_model(staged, model)
    check_places(staged)
    return staged, header["sdk"]


def _name_model(staged: Staged, model: str | None) -> None:
    """Puts a Space's model into its README.md. Raises ReleaseError where that names none yet, and none is given."""
    text = (staged.folder / "README.md").read_text(encoding="utf-8")
    if model is not None:
        card = RepoCard(text.replace(SOME_MODEL, model), ignore_metadata_errors=True)
        card.data["models"] = [model]
        staged.write("README.md", str(card))
    elif SOME_MODEL in text:
        raise ReleaseError(
            f"{staged.source}/README.md says {SOME_MODEL} where your model should be named: say --space_model me/my-model, "
            "its repo on the Hub"
        )


def _header(staged: Staged) -> dict[str, Any]:
    """The YAML at the head of a README.md."""
    try:
        return RepoCard(
            (staged.folder / "README.md").read_text(encoding="utf-8"), ignore_metadata_errors=True
        ).data.to_dict()
    except ValueError as error:
        raise ReleaseError(f"{staged.source}/README.md: its YAML header can't be read: {error}") from None


def check(staged: Staged, facts: CardFacts | None = None) -> None:
    """Raises ReleaseError where a model or a dataset would not load for others."""
    if staged.kind != "space":
        check_loads(staged, *(facts.examples[:1] if facts else ()))
