"""What is done, skipped, done again and left behind."""

import json

import pytest

from finener.data_scripts.holding import FolderInUse, hold_folder
from finener.experiments import program
from finener.experiments.run import Place

from transfers import a_run, corpora, finish, leave_model

PLAN = program.read_yaml("plan")


def test_what_is_done_is_skipped_and_what_changed_is_done_again(tmp_path):
    place = Place(tmp_path / "work", tmp_path / "results")
    source = a_run(transfer="yago", system="s", phase="source")
    first, second = a_run(source=source), a_run(source=source, seed=2)
    everything = [source, first, second]
    assert program.to_do(everything, place) == everything
    finish(source, place)
    leave_model(source, place)
    finish(first, place)
    assert program.to_do(everything, place) == [second]
    finish(second, place)
    assert program.to_do(everything, place) == []
    changed = a_run(source=source, seed=2, config={"learning_rate": 0.2})
    assert program.to_do([source, first, changed], place) == [changed]


def test_what_other_code_has_done_stays_unless_it_is_to_be_renewed(tmp_path, monkeypatch):
    place, run = Place(tmp_path / "work", tmp_path / "results"), a_run(config={})
    finish(run, place)
    assert program.to_do([run], place) == program.to_do([run], place, renew=True) == []
    assert "other code" not in program.plan_table([run], place, 1)
    monkeypatch.setattr(program, "code_hash", lambda files: "other")
    assert program.to_do([run], place) == [] and program.to_do([run], place, renew=True) == [run]
    assert "; 1 runs were done by other code than today's: --renew" in program.plan_table([run], place, 1)
    assert "other code" not in program.plan_table([run], place, 1, renew=True)


def test_a_source_model_that_is_not_there_is_trained_again_only_when_it_is_needed(tmp_path):
    place = Place(tmp_path / "work", tmp_path / "results")
    source = a_run(transfer="yago", system="s", phase="source")
    run = a_run(source=source)
    finish(source, place)
    finish(run, place)
    assert program.to_do([source, run], place) == []
    place.result(run).unlink()
    assert program.to_do([source, run], place) == [source, run]
    assert program.to_do([run], place) == [source, run]


def test_a_source_model_that_goes_on_from_another_needs_it(tmp_path):
    place = Place(tmp_path / "work", tmp_path / "results")
    base = a_run(transfer="yago", system="s", phase="source")
    freed = a_run(transfer="yago", system="s_freed", phase="source", source=base)
    run, other = a_run(source=freed), a_run(transfer="other")
    assert program.to_do([run], place) == [base, freed, run]
    assert program.stages([run, other, freed, base]) == [[other, base], [freed], [run]]
    for done in (base, freed):
        finish(done, place)
    leave_model(freed, place)
    assert program.to_do([run], place) == [run], "what the freed one started from is not missed"
    program.key_file(freed, place).unlink()
    assert program.to_do([run, freed, base], place) == [run, freed, base]


def test_the_estimate_is_that_of_another_seed_where_there_is_one(tmp_path):
    place = Place(tmp_path, tmp_path)
    run = a_run(config={"num_train_epochs": 10})
    per_record = program.TRAIN["finetune"]
    assert program.estimate(run, place) == pytest.approx(program.START + 10 * per_record)  # one record trains
    free = a_run(config={"num_train_epochs": 10, "freeze": "nothing"})
    expected = program.START + (1 + 3) * program.READ[run.encoder] + 10 * program.FREE[run.encoder]  # and one is tested
    assert program.estimate(free, place) == pytest.approx(expected)
    finish(a_run(seed=3), place)
    assert program.estimate(run, place) == 60.0


def test_work_writes_a_result_whole_and_marks_source_models(tmp_path, monkeypatch):
    place = Place(tmp_path / "work", tmp_path / "results")
    source = a_run(transfer="yago", system="s", phase="source")
    place.model(source, source.folds[0]).mkdir(parents=True)
    monkeypatch.setattr(program, "execute", lambda run, place, keep=False: {"key": run.key, "seconds": 1.0})
    program.work(source, place)
    assert program.is_done(source, place) and program.has_model(source, place)
    assert [p.name for p in place.results.iterdir()] == ["yago-minilm-s-1.json"]


def test_a_source_model_that_is_trained_again_has_no_key_until_it_is_whole(tmp_path, monkeypatch):
    place = Place(tmp_path / "work", tmp_path / "results")
    source = a_run(transfer="yago", system="s", phase="source")
    leave_model(source, place)
    assert program.has_model(source, place)

    def stop(run, place, keep):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "execute", stop)
    for train in (program.work, lambda run, place: program.train_sources(a_run(source=run), place)):
        with pytest.raises(KeyboardInterrupt):
            train(source, place)
        assert not program.key_file(source, place).exists()
        program.key_file(source, place).write_text("of another config", encoding="utf-8")


def test_two_programs_at_one_place_are_refused(tmp_path):
    place, run = Place(tmp_path / "work", tmp_path / "results"), a_run()
    finish(run, place)
    told = f"{tmp_path / 'work'}: another run is at it; wait for its end, or see with --plan what is left to do"
    with hold_folder(place.work, "go away"):
        for ask in (lambda: program.do([], place, 1), lambda: program.rerun(run, place)):
            with pytest.raises(FolderInUse, match=told):
                ask()
    assert program.do([], place, 1) == []


def test_rerun_tells_whether_the_predictions_are_the_same(tmp_path, monkeypatch, capsys):
    place, source = Place(tmp_path, tmp_path), a_run(transfer="yago", phase="source")
    run = a_run(source=source)
    told = {"name": run.name, "key": run.key, "seconds": 1.0, "scores": {"pair_f1": 0.5}, "predictions": "abc"}
    with pytest.raises(ValueError, match="no result"):
        program.rerun(run, place)
    place.result(run).write_text(json.dumps(told), encoding="utf-8")
    leave_model(source, place)
    monkeypatch.setattr(program, "execute", lambda run, place, keep=False: told)
    assert program.rerun(run, place)
    monkeypatch.setattr(program, "execute", lambda run, place, keep=False: told | {"predictions": "abd"})
    assert not program.rerun(run, place)
    assert "DIFFERENT" in capsys.readouterr().out


def test_a_source_model_that_goes_on_from_another_is_made_anew_in_its_place(tmp_path, monkeypatch):
    place, base = Place(tmp_path, tmp_path), a_run(transfer="yago", phase="source")
    freed = a_run(transfer="yago", system="s_freed", phase="source", source=base)
    told = {"name": freed.name, "key": freed.key, "seconds": 1.0, "scores": {}, "predictions": "abc"}
    place.result(freed).write_text(json.dumps(told), encoding="utf-8")
    leave_model(base, place)
    leave_model(freed, place)
    seen = []
    monkeypatch.setattr(program, "execute", lambda run, place, keep=False: seen.append((run, keep)) or told)
    assert program.rerun(freed, place) and seen == [(freed, True)]
    assert program.has_model(freed, place)


def test_what_is_asked_for_is_done_also_with_seeds_that_the_plan_does_not_name(monkeypatch):
    seen = {}
    monkeypatch.setattr(program, "prepare", lambda *args: corpora())
    monkeypatch.setattr(program, "plan_table", lambda runs, *args: "")
    monkeypatch.setattr(program, "do", lambda runs, *args: seen.update(done=runs) or [])
    monkeypatch.setattr(program, "to_do", lambda runs, *args: runs)
    assert program.main(["--data", "x", "--only", "aida-mpnet-several-*", "--seeds", "1", "7"]) == 0
    assert [run.name for run in seen["done"]] == ["aida-mpnet-several-1", "aida-mpnet-several-7"]
    with pytest.raises(ValueError, match="no such transfer or run"):
        program.main(["--data", "x", "--only", "nothing"])
