"""An exported folder finds what the model finds, without torch."""

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from finener import cli
from finener.export import command
from finener.export.graphs import Reader, expected_outputs, write_graph
from finener.export.onnx_folder import RUNTIME, quantize_folder
from finener.onnx_finener import OnnxPipeline
from finener.pipeline_finener import FinenerPipeline
from finener.prediction.records import load_pipeline

import tiny
from texts import ODD_TEXTS, RANDOM_TEXTS, long_text

TEXTS = [*tiny.GOLD, *ODD_TEXTS.values(), *RANDOM_TEXTS, *(long_text(n, n) for n in range(1, 90)), long_text(400)]
MODELS = {
    "sigmoid": ("wordpiece-uncased", tiny.VARIANTS["everything"]),
    "softmax": (
        "bpe",
        {"target": True, "target_decoding": "expected", "type_threshold": {"default": 0.4, "levels": [0.6]}},
    ),
}


@pytest.fixture(scope="module", params=list(MODELS))
def exported(request, tmp_path_factory) -> tuple[FinenerPipeline, Path]:
    """A saved model's pipeline, and the folder that the command exported it to."""
    kind, knobs = MODELS[request.param]
    tokenizer, saved = tiny.TOKENIZERS[kind](), tmp_path_factory.mktemp("model")
    tiny.tiny_model(tokenizer, **knobs).save_pretrained(saved)
    tokenizer.save_pretrained(saved)
    folder = tmp_path_factory.mktemp("exported") / "new" / "onnx"
    assert cli.main(["export", "--model", str(saved), "--format", "onnx", "--output_dir", str(folder)]) == 0
    return load_pipeline(str(saved), "cpu"), folder


def check(found: list[list[dict]], expected: list[list[dict]], least: int = 100) -> None:
    """The same mentions, types and labels, in the same order, with scores within 1e-4; more than ``least`` mentions."""
    assert sum(map(len, expected)) > least
    for mentions, others in zip(found, expected, strict=True):
        assert len(mentions) == len(others)
        for mention, other in zip(mentions, others, strict=True):
            own = {key: mention[key] for key in other}
            scores = [own.pop("score"), *own["types"].values()]
            assert scores == pytest.approx([other["score"], *other["types"].values()], abs=1e-4)
            assert {**own, "types": set(own["types"])} == {
                **{key: value for key, value in other.items() if key != "score"},
                "types": set(other["types"]),
            }


@pytest.mark.parametrize(
    "asked",
    [{}, {"head": "source", "batch_size": 1}, {"head": "target", "detection_threshold": 0.3, "batch_size": 7}],
    ids=str,
)
def test_the_mentions_of_two_hundred_texts_are_those_of_the_model(exported, asked):
    pipe, folder = exported
    assert len(TEXTS) >= 200
    check(OnnxPipeline(folder, threads=1)(TEXTS, **asked), pipe(TEXTS, **asked))


def test_what_a_call_asks_of_the_types_is_answered_as_by_the_model(exported):
    pipe, folder = exported
    ner, texts = OnnxPipeline(folder, threads=1), TEXTS[-12:]
    answers = set()
    for asked in (
        {"top_k": 2},
        {"top_k": 3, "head": "source", "type_threshold": 0.05},
        {"top_k": 1, "types": ["per.artist", "loc"]},
        {"top_k": 100},
        {"types": "per"},
        {"types": "loc", "type_threshold": 0.3},
        {"types": "path", "type_threshold": 0.4},
        {"types": ["artist", "company"], "head": "source"},
    ):
        expected = pipe(texts, **asked)
        check(ner(texts, **asked), expected, 0)
        answers.add(json.dumps([[sorted(m["types"]) for m in mentions] for mentions in expected]))
    assert len(answers) == 8
    both, others = ner(texts, head="both"), pipe(texts, head="both")
    assert list(both[0][0]) == list(others[0][0])
    sources = [[[{"score": 1.0, **m.pop("source")} for m in mentions] for mentions in side] for side in (both, others)]
    check(both, others, 20)
    check(*sources, 20)


def test_the_folder_runs_alone_without_torch(exported):
    pipe, folder = exported
    code = (
        "import sys, json; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'finener')))\n"
        f"from {RUNTIME} import OnnxPipeline\n"
        "print(json.dumps(OnnxPipeline('.', threads=1)(json.loads(sys.argv[1]))))"
    )
    texts = [*tiny.GOLD, long_text(300)]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(texts)], cwd=folder, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == OnnxPipeline(folder, threads=1)(texts)
    assert pipe(texts[-1])


def test_padding_and_records_of_one_word_change_nothing(exported):
    pipe, folder = exported
    ner, texts = OnnxPipeline(folder, threads=1), ["York", " ", *tiny.GOLD]
    for chosen in (texts, texts[:1], texts[1:2], texts[2:4]):
        batch = tiny.text_batch(pipe.model, pipe.tokenizer, *chosen)
        given = {node.name: batch[node.name].numpy() for node in ner.reader.get_inputs()}
        with torch.no_grad():
            expected = expected_outputs(Reader(pipe.model), batch)
        for output, own in zip(ner.reader.run(None, given), expected, strict=True):
            assert output == pytest.approx(own, abs=1e-4)


def test_the_most_specific_types_alone_and_those_above_a_threshold(exported):
    pipe, folder = exported
    ner = OnnxPipeline(folder, threads=1)
    whole, leaves, paths = (ner(TEXTS[:4], types=types, head="source") for types in ("all", "leaf", "path"))
    ontology = pipe.model.config.ontology
    for of_text in zip(whole, leaves, paths, strict=True):
        for mention, leaf, path in zip(*of_text, strict=True):
            assert set(leaf["types"]) == set(ontology.most_specific(mention["types"]))
            assert set(path["types"]) == set(ontology.closure([mention["entity_group"]]))
            assert list(leaf["labels"]) == list(leaf["types"])
    best = [max(m["types"].values()) for of_text in ner(TEXTS) for m in of_text]
    threshold = statistics.median(best)
    strict = [m for of_text in ner(TEXTS, type_threshold=threshold) for m in of_text]
    assert 0 < len(strict) < len(best)
    assert all(score >= threshold for m in strict for score in m["types"].values())


def test_graphs_of_eight_bits_say_nearly_the_same(exported, tmp_path):
    pipe, folder = exported
    small = shutil.copytree(folder, tmp_path / "small")
    quantize_folder(small)
    nodes = {node.op_type for node in onnx.load(small / "reader.onnx").graph.node}
    assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= nodes and "LSTM" not in nodes
    assert "MatMulInteger" in {node.op_type for node in onnx.load(small / "types.onnx").graph.node}
    spans = [
        {(i, m["start"], m["end"]) for i, of_text in enumerate(ner(TEXTS)) for m in of_text}
        for ner in (OnnxPipeline(small, threads=1), pipe)
    ]
    assert len(spans[0] & spans[1]) > 0.7 * len(spans[0] | spans[1]) > 100


class Differing(nn.Module):
    """Computes something else once it is exported."""

    def forward(self, values):
        return (values + 1 if torch.onnx.is_in_onnx_export() else values,)


def test_a_graph_that_computes_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="differs from the model by 1"):
        write_graph(Differing().eval(), {"values": torch.zeros(2, 2)}, {"values": "M"}, ["same"], tmp_path / "bad.onnx")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_torch_quantizes_a_model_too():
    tokenizer = tiny.TOKENIZERS["wordpiece-uncased"]()
    model = tiny.tiny_model(tokenizer, target=True)
    smaller = torch.ao.quantization.quantize_dynamic(model, {nn.Linear, nn.LSTM}, dtype=torch.qint8)
    assert "Quantized" in str(type(smaller.tagger)) + str(type(smaller.lstm)) + smaller.tagger._get_name()
    expected, found = (tiny.outputs(m, tokenizer, *tiny.GOLD).logits for m in (model, smaller))
    assert (found - expected).abs().mean() < 0.1 * expected.abs().mean()


# -------------------------------------------------------------------- the command


def test_the_folder_holds_what_it_says_and_is_never_that_of_the_model(exported, tmp_path, capsys):
    _, folder = exported
    assert {path.name for path in folder.iterdir()} == {
        *("reader.onnx", "types.onnx", "tokenizer.json", "ontology.json", "onnx.json", "requirements.txt", RUNTIME)
    }
    (tmp_path / "model.safetensors").touch()
    arguments = ["export", "--model", str(tmp_path), "--format", "onnx", "--output_dir", str(tmp_path)]
    assert cli.main(arguments) == 1
    assert "holds a model" in capsys.readouterr().err


def test_what_is_not_there_is_told_in_one_line(tmp_path, capsys, monkeypatch):
    arguments = ["export", "--format", "onnx", "--output_dir", str(tmp_path / "out"), "--model"]
    assert cli.main([*arguments, str(tmp_path / "modle")]) == 1
    assert "no such model folder" in capsys.readouterr().err
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert cli.main([*arguments, str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: export needs onnxscript: pip install 'finener[onnx]'\n"


@pytest.mark.parametrize("name", ["onnx.json", "ontology.json", "reader.onnx", "types.onnx", "tokenizer.json"])
def test_a_damaged_file_is_named(exported, tmp_path, name):
    folder = tmp_path / "copy"
    shutil.copytree(exported[1], folder)
    whole = (folder / name).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"{}", b"[1]", whole[:100] + bytes(8) + whole[108:]):
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: (?!.*\n)"):
            OnnxPipeline(folder, threads=1)


def test_wrong_calls_say_what_was_expected(exported, tmp_path):
    _, folder = exported
    with pytest.raises(FileNotFoundError, match="finener export --format onnx"):
        OnnxPipeline(tmp_path)
    ner = OnnxPipeline(folder, threads=1)
    for error, match, inputs, asked in (
        (TypeError, "expected a text", [3], {}),
        (ValueError, "head must be 'target', 'source' or 'both'; got 'middle'", "Ann", {"head": "middle"}),
        (ValueError, "expected 'leaf', 'path' or 'all', one of its types", "Ann", {"types": "leaves"}),
        (ValueError, "types by name need the whole model: expected types of 'tgt'", "Ann", {"types": ["astronomer"]}),
        (ValueError, "top_k must be a whole number of at least 1", "Ann", {"top_k": 0}),
        (TypeError, "takes no mentions: it takes head, types, .* need the whole model", "Ann", {"mentions": [(0, 3)]}),
        (TypeError, "takes no head of your own", "Ann", {"head": print}),
        (ValueError, r"detection_threshold must be a number in \[0, 1\]", "Ann", {"detection_threshold": 2}),
        (ValueError, "batch_size must be", "Ann", {"batch_size": 0}),
    ):
        with pytest.raises(error, match=match):
            ner(inputs, **asked)
    assert ner([]) == [] and ner("") == [] and ner([" "]) == [[]]
