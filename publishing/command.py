"""The ``release`` command: a folder becomes a repo on the Hub."""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

from finener.data_scripts.tables import text_table
from finener.json_finener import read_json
from finener.metrics.card import CardFacts
from finener.publishing.kinds import check, stage_dataset, stage_model, stage_space
from finener.publishing.staging import ReleaseError, Staged
from finener.publishing.upload import create_repo, is_private, publish, set_variable

OF_CARD = ("license", "language", "datasets", "base_model", "examples", "tags")
REPO = r"[\w.-]+/[\w.-]+"
OF_MODELS = (*OF_CARD, "card", "scores")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, metavar="FOLDER", help="a trained model")
    what.add_argument("--dataset", type=Path, metavar="FOLDER", help="of finener build or finener silver")
    what.add_argument("--space", type=Path, metavar="FOLDER", help="app.py, requirements.txt, README.md")
    parser.add_argument(
        "--space_model", metavar="USER/NAME", help="of a Space: the model that it shows, a repo on the Hub"
    )
    parser.add_argument(
        "--repo", required=True, metavar="USER/NAME", help="on the Hub; it is made where it is not there"
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="check everything, list what would go up, upload nothing"
    )
    parser.add_argument("--private", action="store_true", help="a new repo is seen by its owner alone")
    parser.add_argument("--revision", metavar="BRANCH", help="upload to this branch (default: main)")
    parser.add_argument("--tag", help="name of the release, such as v1.0; default: for models one made of the content")
    parser.add_argument("--message", default="Released with finener", help="of the commit")
    card = parser.add_argument_group("the card of a model", "by default what card: of the training's YAML says")
    card.add_argument("--license", help="of the weights, as the Hub spells it: apache-2.0, cc-by-4.0, other")
    card.add_argument("--language", nargs="+", metavar="CODE", help="of the texts: en")
    card.add_argument("--datasets", nargs="+", metavar="REPO", help="Hub names of what it was trained on")
    card.add_argument("--base_model", metavar="REPO", help="Hub name of what training started from")
    card.add_argument("--examples", nargs="+", metavar="TEXT", help="for the widget and the card's code")
    card.add_argument("--tags", nargs="+", help="beside finener's own")
    card.add_argument(
        "--scores", nargs="+", type=Path, default=[], metavar="FILE.json", help="of finener score --output_file"
    )
    card.add_argument(
        "--card", type=Path, metavar="README.md", help="a card of your own in place of the one that is made"
    )


def run(args: argparse.Namespace) -> int:
    """The ``release`` command."""
    if not re.fullmatch(REPO, args.repo):
        raise ReleaseError(f"--repo names a user and a repo, such as me/my-model; got {args.repo!r}")
    if args.model is None and (given := [f"--{name}" for name in OF_MODELS if getattr(args, name)]):
        raise ReleaseError(f"{', '.join(given)}: only for --model; the card of a dataset or Space is its README.md")
    if args.space_model:
        _check_space_model(args)
    if args.card and (given := [f"--{name}" for name in (*OF_CARD, "scores") if getattr(args, name)]):
        raise ReleaseError(f"{', '.join(given)}: only for the card that is made; put it into the header of {args.card}")
    with tempfile.TemporaryDirectory(prefix="finener-release-") as folder:
        return _release(args, Path(folder))


def _check_space_model(args: argparse.Namespace) -> None:
    if args.space is None:
        raise ReleaseError("--space_model: only for --space")
    if not re.fullmatch(REPO, args.space_model) or Path(args.space_model).is_dir():
        raise ReleaseError(
            f"--space_model names a model on the Hub, such as me/my-model; got {args.space_model!r}. Release a folder first: "
            "finener release --model FOLDER --repo me/my-model"
        )


def _release(args: argparse.Namespace, folder: Path) -> int:
    facts, tag, sdk = None, args.tag, None
    if args.model:
        facts = _facts(args)
        staged, tag = stage_model(
            args.model, folder, args.repo, facts=facts, tag=tag, card=args.card, measured=_measured(args.scores)
        )
    elif args.dataset:
        staged = stage_dataset(args.dataset, folder, is_private=args.private)
    else:
        staged, sdk = stage_space(args.space, folder, args.space_model)
    check(staged, facts)
    print(listing(staged))
    if args.dry_run:
        print(f"\nA dry run: nothing was uploaded to {args.repo}" + (f", nor tagged {tag}" if tag else ""))
        return 0
    repo = create_repo(args.repo, staged.kind, private=args.private or None, sdk=sdk)
    if args.private and not is_private(repo, staged.kind):
        raise ReleaseError(
            f"{repo} is there already, and public: nothing was uploaded. Make it private on its page first"
        )
    if args.space_model:
        set_variable(repo, "MODEL", args.space_model)
    done = publish(staged, repo, tag=tag, is_new_tag=args.tag is not None, revision=args.revision, message=args.message)
    print(f"\nReleased: {done.url}" + (f', revision="{done.tag}"' if done.tag else ""))
    return 0


def _facts(args: argparse.Namespace) -> CardFacts:
    """What the card says: that of the training's settings, and over it what the command line says."""
    file, told = args.model / "results.json", {}
    if file.is_file():
        told = read_json(file).get("config", {}).get("card") or {}
    return CardFacts.read(told | {name: getattr(args, name) for name in OF_CARD if getattr(args, name)})


def _measured(files: list[Path]) -> dict[str, Any]:
    """Name of a test, that of its file → scores."""
    measured = {file.stem: read_json(file) for file in files}
    for file in files:
        if not measured[file.stem].keys() >= {"scores", "intervals", "levels", "records"}:
            raise ReleaseError(f"{file} holds no scores: expected a file of finener score --output_file")
    return measured


def listing(staged: Staged) -> str:
    """What goes up, with sizes, and what stays at home, with the reason."""
    rows = [[name, f"{staged.size(name):,}"] for name in staged.files]
    total = sum(map(staged.size, staged.files))
    lines = [text_table(["file", "bytes"], rows), f"{len(rows)} files, {total:,} bytes"]
    return "\n".join(lines + [f"left out: {name} ({why})" for name, why in sorted(staged.left_out.items())])
