"""The plan of the experiments: every transfer by every one of its systems, with every seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from finener.experiments.data import SPLITS, Fold, Record, sample, source_fold
from finener.experiments.run import Run, read_yaml, source_sample
from finener.ontology_finener import Ontology
from finener.paths import ROOT
from finener.prediction.mapping import TypeMapping

QUICK = {"train": 120, "dev": 40, "test": 40, "detection": 120}


def merge(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over settings, the later win; knobs are merged one by one."""
    merged: dict[str, Any] = {}
    for part in settings:
        knobs = {**merged.get("knobs", {}), **part.get("knobs", {})}
        merged |= part
        if knobs:
            merged["knobs"] = knobs
    return merged


def targets_of(plan: Mapping[str, Any], source: str) -> set[str]:
    """The corpora that a source model is fine-tuned to.

    Raises:
        ValueError: when one of them is in its training.
    """
    corpora = {
        {"documents": transfer.get("corpus", name), "fewnerd": "fewnerd", "domains": "crossner"}[transfer["split"]]
        for name, transfer in plan["transfers"].items()
        if transfer.get("source") == source
    }
    spec = plan["sources"][source]
    own = corpora & {*spec["detection"], *spec["typing"]}
    if own:
        raise ValueError(f"the source model {source!r} trains on {', '.join(sorted(own))}, which it is tested on")
    return corpora


def read_tables(typing: Mapping[str, Mapping[str, str] | None], yago: str) -> dict[str, TypeMapping]:
    """Of each gold corpus that trains source types and has others than YAGO's, the table from its types to these."""
    source = Ontology.from_json(ROOT / yago)
    return {
        corpus: TypeMapping.from_tsv(ROOT / spec["table"], Ontology.from_json(ROOT / spec["ontology"]), source)
        for corpus, spec in typing.items()
        if spec
    }


def make_runs(plan: Mapping[str, Any], corpora: Mapping[str, list[Record]], seeds: Sequence[int]) -> list[Run]:
    """All runs of a plan, source models first."""
    yago = plan["transfers"]["yago"]["ontology"]
    folds = {
        name: source_fold(
            corpora,
            spec,
            read_tables(spec["typing"], yago),
            [r for c in sorted(targets_of(plan, name)) for r in corpora[c]],
        )
        for name, spec in plan["sources"].items()
    }
    sources: dict[tuple[str, str, int], Run] = {}
    for encoder, settings in plan["encoders"].items():
        for name, spec in plan["sources"].items():
            config = merge(read_yaml("source"), settings, spec.get("settings", {}))
            own, tested = [folds[name]], source_sample(folds[name])
            for seed in seeds_of(spec, encoder, seeds):
                run = Run("yago", encoder, name, seed, "source", config, own, None, yago, None, tested)
                sources[encoder, name, seed] = run
    sources |= freed_sources(plan, sources, seeds)
    runs = list(sources.values())
    for name, transfer in plan["transfers"].items():
        if transfer["systems"]:
            runs += transfer_runs(plan, name, corpora, sources, seeds)
    return runs


def freed_sources(
    plan: Mapping[str, Any], sources: Mapping[tuple[str, str, int], Run], seeds: Sequence[int]
) -> dict[tuple[str, str, int], Run]:
    """Of the source models that ``freed`` names, those that go on with a free encoder: same data, as ``NAME_freed``."""
    spec, freed = plan["freed"], {}
    for (encoder, name, seed), source in sources.items():
        if name in spec["sources"] and seed in seeds_of(spec, encoder, seeds):
            own = plan["sources"][name].get("settings", {})
            config = merge(read_yaml("freed"), dtype_of(plan, encoder), own)
            run = replace(source, system=f"{name}_freed", config=config, source=source)
            freed[encoder, run.system, seed] = run
    return freed


def dtype_of(plan: Mapping[str, Any], encoder: str) -> dict[str, str]:
    """What a model that is there already is told of its encoder."""
    return {key: value for key, value in plan["encoders"][encoder].items() if key == "encoder_dtype"}


def seeds_of(spec: Mapping[str, Any], encoder: str, seeds: Sequence[int]) -> list[int]:
    """The seeds that a part of the plan is run with: its own, where it names some, for all encoders or for this one."""
    own = spec.get("seeds", seeds)
    own = own.get(encoder, seeds) if isinstance(own, Mapping) else own
    return [seed for seed in seeds if seed in own]


def transfer_runs(
    plan: Mapping[str, Any],
    name: str,
    corpora: Mapping[str, list[Record]],
    sources: Mapping[tuple[str, str, int], Run],
    seeds: Sequence[int],
) -> list[Run]:
    """A transfer by each of its systems, with every encoder and seed."""
    transfer, runs = plan["transfers"][name], []
    folds = SPLITS[transfer["split"]](corpora, name, transfer)
    for encoder, settings in plan["encoders"].items():
        for system in transfer["systems"]:
            spec = plan["systems"][system]
            phase, source_name = spec["phase"], transfer.get("source", "") + spec.get("source", "")
            own: dict[str, Any] = {}
            if phase != "direct":
                of_encoder = settings if phase == "scratch" else dtype_of(plan, encoder)
                own = merge(read_yaml(phase), of_encoder, transfer.get("settings", {}), spec.get("settings", {}))
            data = with_dev(folds, corpora["crossner/politics/dev"]) if phase == "direct" else folds
            is_mapped = phase == "direct" or own.get("type_start") == "mapping"
            mapping = transfer["mapping"] if is_mapped else None
            for seed in seeds_of(spec, encoder, seeds_of(transfer, encoder, seeds)):
                source = None if phase == "scratch" else sources[encoder, source_name, seed]
                kept = source.source_test if phase == "finetune" else ()
                runs.append(
                    Run(name, encoder, system, seed, phase, own, data, source, transfer["ontology"], mapping, kept)
                )
    return runs


def with_dev(folds: Sequence[Fold], dev: list[Record]) -> list[Fold]:
    """The folds; those that have nothing to tune a threshold on get ``dev``."""
    return [fold if fold.dev else replace(fold, dev=dev) for fold in folds]


def shrink(run: Run, source: Run | None) -> Run:
    """The run on a few records, one fold and one epoch, for a rehearsal."""
    fold = run.folds[0]
    small = replace(fold, **{part: sample(getattr(fold, part), most) for part, most in QUICK.items()})
    config = merge(run.config, {"num_train_epochs": 1}) if run.config else {}
    return replace(run, folds=[small], config=config, source=source, source_test=list(run.source_test)[:20])


def make_quick(runs: Sequence[Run]) -> list[Run]:
    """A rehearsal of some runs."""
    small: dict[str, Run] = {}
    for run in runs:
        small[run.name] = shrink(run, run.source and small[run.source.name])
    return list(small.values())
