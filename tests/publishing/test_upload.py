"""One commit or nothing: every request of a release fails once, or for good."""

import re

import pytest

from finener.publishing.staging import stage
from finener.publishing.upload import UploadError, create_repo, publish

OLD = {"README.md": b"---\n{}\n---\n\nold", "config.json": b"{}", "old_finener.py": b"1", "notes.txt": b"kept"}
NEW = {"README.md": b"---\n{}\n---\n\nnew", "config.json": b'{"a": 1}', "model.safetensors": b"weights" * 9}
REQUESTS = 9  # of the first release below
AFTER = {**NEW, "notes.txt": OLD["notes.txt"], ".gitattributes": b""}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def staged(folder, files):
    (folder / "source").mkdir(parents=True)
    (folder / "staged").mkdir()
    for name, content in files.items():
        (folder / "source" / name).write_bytes(content)
    return stage(folder / "source", folder / "staged", "model")


@pytest.fixture
def new(tmp_path, hub):
    """A release to come, to a repo that holds an old one."""
    old = staged(tmp_path / "old", OLD)
    publish(old, create_repo("me/mine"))
    return staged(tmp_path / "new", NEW)


def release(new):
    return publish(new, create_repo("me/mine"), tag="v2")


def test_a_release_is_one_commit_that_leaves_nothing_stale(new, hub):
    hub.fail(0, "")
    done = release(new)
    assert [commit.message for commit in hub.repos["models", "me/mine"].commits][1:] == ["Released with finener"] * 2
    assert hub.files("me/mine") == AFTER and hub.files("me/mine", "v2") == AFTER
    assert done.commit == hub.repos["models", "me/mine"].branches["main"] and done.repo == "me/mine"
    assert len(hub.log) == REQUESTS
    assert "POST /api/models/me/mine/tag/" in hub.log[-1] and "/commit/" in hub.log[-2]


def test_the_same_release_again_makes_no_commit(new, hub):
    first = release(new)
    again = publish(stage(new.source, new.folder.parent / "again", "model"), "me/mine", tag="v2")
    assert again.commit == first.commit and len(hub.repos["models", "me/mine"].commits) == 3


@pytest.mark.parametrize("how", ["500", "429", "reset", "lost"])
@pytest.mark.parametrize("number", range(1, REQUESTS + 1))
def test_a_request_that_fails_once_is_made_again(new, hub, number, how):
    hub.fail(number, how)
    done = release(new)
    assert len(hub.log) > REQUESTS, "the failure was seen"
    repo = hub.repos["models", "me/mine"]
    assert len(repo.commits) == 3, "also where the answer was lost, there is one commit"
    assert hub.files("me/mine") == AFTER and repo.tags == {"v2": done.commit}


@pytest.mark.parametrize("how", ["always 503", "always 403", "always reset"])
@pytest.mark.parametrize("number", range(1, REQUESTS + 1))
def test_a_request_that_keeps_failing_is_one_line_and_leaves_the_old_state_or_the_whole_new_one(new, hub, number, how):
    before = hub.files("me/mine")
    hub.fail(number, how)
    with pytest.raises(UploadError) as error:
        release(new)
    assert "\n" not in str(error.value) and "me/mine" in str(error.value)
    assert ("hf auth login" in str(error.value)) == (how == "always 403")
    assert hub.files("me/mine") == (AFTER if number == REQUESTS else before)
    assert hub.repos["models", "me/mine"].tags == {}
    hub.fail(0, "")
    release(new)
    assert hub.files("me/mine", "v2") == AFTER and len(hub.repos["models", "me/mine"].commits) == 3


OLD_DATA = {"README.md": b"---\n{}\n---\n\nold", "data/train-0.parquet": b"old", "notes.txt": b"kept"}
NEW_DATA = {"README.md": b"---\n{}\n---\n\nnew", "data/train-1.parquet": b"rows" * 9, "data/test-0.parquet": b"rows"}


def staged_data(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    target = folder.with_name(f"{folder.name}-staged")
    target.mkdir()
    return stage(folder, target, "dataset")


@pytest.mark.parametrize("how", ["lost", "always reset"])
def test_a_data_set_goes_up_whole_or_stays_what_it_was_whichever_request_fails(tmp_path, hub, how):
    old, new = staged_data(tmp_path / "old", OLD_DATA), staged_data(tmp_path / "new", NEW_DATA)
    whole = {**NEW_DATA, "notes.txt": b"kept", ".gitattributes": b""}
    for number in range(1, 30):
        name = f"me/data{number}"
        publish(old, create_repo(name, "dataset"))
        before = hub.files(name, kind="datasets")
        hub.fail(number, how)
        try:
            publish(new, create_repo(name, "dataset"))
        except UploadError as error:
            assert "always" in how and name in str(error) and "\n" not in str(error)
            assert hub.files(name, kind="datasets") == before
        else:
            assert hub.files(name, kind="datasets") == whole
        assert len(hub.repos["datasets", name].commits) <= 3
        if len(hub.log) < number:  # the request that was to fail never came
            break
        hub.fail(0, "")
    assert 6 < number < 29


def test_a_tag_that_a_person_chose_must_be_new(new, hub):
    release(new)
    with pytest.raises(UploadError, match=r"has a tag v2 already.*choose another"):
        publish(new, "me/mine", tag="v2", is_new_tag=True)


def test_a_release_to_a_branch_leaves_main_alone(new, hub):
    before = hub.files("me/mine")
    publish(new, "me/mine", revision="next")
    assert hub.files("me/mine") == before and hub.files("me/mine", "next") == AFTER


def test_a_refusal_is_not_asked_for_again(new, hub):
    hub.fail(2, "always 403")
    with pytest.raises(UploadError, match=re.escape("me/mine could not be released: ")):
        release(new)
    assert len(hub.log) == 2
