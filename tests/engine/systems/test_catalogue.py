"""The catalogue: cheap to read, honest about what is matched and what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ModelFilesError, UnknownKeyError
from engine.systems.catalogue import (
    MINI_PAIRS,
    MINI_SYSTEMS,
    PAIRS,
    SYSTEMS,
    SystemInfo,
    backbone_of,
    get_pair,
    get_spec,
    longest_trained_clip_s,
    match_between,
    match_of,
    n_layers_of,
    ready_pairs,
    revision_of,
    systems,
)
from engine.systems.checkpoint import fingerprint
from tests.engine.checkpoints import write_checkpoint

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = {
    "mini-llama": "model.safetensors",
    "mini-ultravox": "model.safetensors",
    "mini-whisper": "model.bin",
    "mini-qwen2": "model.safetensors",
    "mini-qwen2-audio": "model.safetensors",
    "mini-whisper-weak": "model.bin",
}
FOLDERS = tuple(WEIGHTS)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Folders as far as the catalogue looks at them: configs, weights of a few bytes, revisions."""
    for index, name in enumerate(FOLDERS):
        config = {"num_hidden_layers": 3 + index}
        write_checkpoint(tmp_path / name, config, {"model.norm.weight": [float(index)]}, WEIGHTS[name])
        (tmp_path / name / "revision.txt").write_text(f"rev-{name}\n", encoding="utf-8")
    name_backbone(tmp_path, "mini-llama")
    began_with(tmp_path, fingerprint([tmp_path / "mini-qwen2"]))
    return tmp_path


def name_backbone(models: Path, backbone: str) -> None:
    config = json.dumps({"text_model_id": backbone})
    (models / "mini-ultravox" / "config.json").write_text(config, encoding="utf-8")


def began_with(models: Path, recorded: str | None) -> None:
    config: dict[str, object] = {"model_type": "qwen2_audio", "text_config": {"num_hidden_layers": 8}}
    config |= {"initialised_from": {"language_model": recorded}} if recorded else {}
    (models / "mini-qwen2-audio" / "config.json").write_text(json.dumps(config), encoding="utf-8")


def row(models: Path, key: str) -> SystemInfo:
    return next(info for info in systems(models) if info.key == key)


def shipped(models: Path) -> list[SystemInfo]:
    return [info for info in systems(models) if info.key in MINI_SYSTEMS]


def test_keys_are_their_rows_keys_and_pairs_name_systems_of_the_right_kind() -> None:
    assert all(spec.key == key for key, spec in SYSTEMS.items())
    for key, pair in PAIRS.items():
        kinds = [get_spec(name).kind for name in (pair.speech_llm, pair.cascade, pair.text_oracle)]
        assert pair.key == key and kinds == ["speech_llm", "cascade", "text_llm"]


@pytest.mark.parametrize(("ask", "known"), [(get_spec, MINI_SYSTEMS), (get_pair, MINI_PAIRS)])
def test_unknown_keys_are_refused_beside_those_there_are(ask, known) -> None:
    for key in ("nonsense", "", "x" * 10_000):
        with pytest.raises(UnknownKeyError) as caught:
            ask(key)
        assert all(name in str(caught.value) for name in known) and len(str(caught.value)) < 300


def test_with_everything_there_all_are_ready_and_matched_as_their_pair(models: Path) -> None:
    """A row shows the closest match of the pairs that it stands in: some are there as a contrast."""
    assert [info.key for info in systems(models)] == list(SYSTEMS)
    found = shipped(models)
    assert all((info.status, info.reason) == ("ready", "") for info in found)
    assert {info.key: info.match for info in found} == {
        "mini-ultravox": "exact",
        "mini-cascade": "exact",
        "mini-llama": "exact",
        "mini-cascade-weak": "exact",
        "mini-qwen2-audio": "ancestor",
        "mini-cascade-qwen2": "ancestor",
        "mini-qwen2": "ancestor",
        "mini-cascade-self": "self",
        "mini-qwen2-audio-llm": "self",
    }
    assert row(models, "mini-ultravox").revision == "rev-mini-ultravox"
    assert row(models, "mini-cascade").revision == "rev-mini-whisper"


def test_a_config_that_names_another_backbone_is_no_match(models: Path) -> None:
    pair = PAIRS["mini-ultravox"]
    assert match_of(pair, models) == "exact"
    name_backbone(models, "another-llama")
    assert backbone_of(get_spec("mini-ultravox"), models) == "another-llama"
    assert match_of(pair, models) == "none" and row(models, "mini-ultravox").match == "none"


@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        ("mini-ultravox", "mini-cascade", "exact"),
        ("mini-ultravox", "mini-cascade-weak", "exact"),
        ("mini-ultravox", "mini-llama", "exact"),
        ("mini-ultravox", "mini-cascade-qwen2", "none"),
        ("mini-ultravox", "mini-cascade-self", "none"),
        ("mini-qwen2-audio", "mini-cascade-qwen2", "ancestor"),
        ("mini-qwen2-audio", "mini-qwen2", "ancestor"),
        ("mini-qwen2-audio", "mini-cascade-self", "self"),
        ("mini-qwen2-audio", "mini-cascade", "none"),
        ("mini-ultravox", "mini-qwen2-audio", "none"),
        ("mini-cascade", "mini-cascade-weak", "none"),
        ("mini-cascade", "mini-llama", "none"),
    ],
)
def test_how_any_two_are_matched_in_either_order(models: Path, a: str, b: str, match: str) -> None:
    assert match_between(a, b, models) == match_between(b, a, models) == match


def test_an_ancestor_is_the_one_whose_weights_are_recorded(models: Path) -> None:
    """Another backbone's digest, none at all, or weights that were changed since: not the ancestor."""
    assert match_between("mini-qwen2-audio", "mini-qwen2", models) == "ancestor"
    for recorded in (fingerprint([models / "mini-llama"]), None):
        began_with(models, recorded)
        assert match_between("mini-qwen2-audio", "mini-qwen2", models) == "none"
    began_with(models, fingerprint([models / "mini-qwen2"]))
    write_checkpoint(models / "mini-qwen2", {}, {"model.norm.weight": [9.0]})
    assert match_between("mini-qwen2-audio", "mini-qwen2", models) == "none"


def test_unknown_systems_have_no_match(models: Path) -> None:
    with pytest.raises(UnknownKeyError, match='no system "nonsense"'):
        match_between("mini-ultravox", "nonsense", models)


def test_only_pairs_that_can_run_are_offered_while_there_is_one(models: Path) -> None:
    assert ready_pairs(models) == MINI_PAIRS
    (models / "mini-qwen2-audio" / "model.safetensors").unlink()
    (models / "mini-whisper-weak" / "model.bin").unlink()
    assert list(ready_pairs(models)) == ["mini-ultravox", "mini-ultravox-other"]
    (models / "mini-llama" / "config.json").unlink()
    (models / "mini-qwen2" / "config.json").unlink()
    assert ready_pairs(models) == MINI_PAIRS


def test_layers_are_counted_in_the_language_models_own_config(models: Path) -> None:
    assert n_layers_of("mini-llama", models) == 3 and n_layers_of("mini-qwen2-audio", models) == 8
    (models / "mini-llama" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelFilesError, match="The config of mini-llama is missing or damaged"):
        n_layers_of("mini-llama", models)


def test_the_length_of_the_training_clips_is_told_where_the_config_has_it(models: Path) -> None:
    assert longest_trained_clip_s(get_spec("mini-ultravox"), models) is None
    assert longest_trained_clip_s(get_spec("bridge-smollm2"), models) is None, "nobody trained its ears here"
    file = models / "mini-ultravox" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    for written, told in ((10.0, 10.0), (8, 8.0)):
        file.write_text(json.dumps(config | {"trained_on_clips_up_to_s": written}), encoding="utf-8")
        assert longest_trained_clip_s(get_spec("mini-ultravox"), models) == told
    for wrong in ("ten", True, 0, -1):
        file.write_text(json.dumps(config | {"trained_on_clips_up_to_s": wrong}), encoding="utf-8")
        with pytest.raises(ModelFilesError, match="names no length of clips"):
            longest_trained_clip_s(get_spec("mini-ultravox"), models)


def test_a_cascade_runs_on_what_its_row_says(models: Path) -> None:
    spec = replace(get_spec("mini-cascade"), backbone="other")
    assert backbone_of(spec, models) == "other"


@pytest.mark.parametrize("missing", FOLDERS)
@pytest.mark.parametrize("part", ["config.json", "weights"])
def test_missing_files_make_their_systems_unavailable_with_the_reason(
    models: Path, missing: str, part: str
) -> None:
    (models / missing / (part if part != "weights" else WEIGHTS[missing])).unlink()
    for info in shipped(models):
        spec = get_spec(info.key)
        if missing in (spec.folder, spec.backbone, spec.transcriber):
            assert info.status == "unavailable" and missing in info.reason and info.revision == ""
            assert str(models) not in info.reason
        else:
            assert info.status == "ready"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_config_is_one_row_unavailable_and_never_an_error(models: Path, text: str) -> None:
    (models / "mini-ultravox" / "config.json").write_text(text, encoding="utf-8")
    info = row(models, "mini-ultravox")
    assert info.status == "unavailable" and "mini-Ultravox" in info.reason
    others = [info for info in shipped(models) if info.key != "mini-ultravox"]
    assert {info.status for info in others} == {"ready"}
    assert row(models, "mini-cascade").match == "none"
    with pytest.raises(ModelFilesError, match="mini-Ultravox is missing or damaged"):
        backbone_of(get_spec("mini-ultravox"), models)


def test_a_folder_without_a_revision_is_unversioned(models: Path) -> None:
    (models / "mini-llama" / "revision.txt").unlink()
    assert revision_of(get_spec("mini-llama"), models) == "unversioned"


def test_reading_the_catalogue_brings_no_model_library() -> None:
    script = "import sys; from engine.systems import catalogue; catalogue.systems(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "transformers", "faster_whisper", "ctranslate2", "safetensors", "numpy"}
    assert "engine.systems.catalogue" in done.stdout.split() and not heavy & set(done.stdout.split())


def test_a_row_tells_its_size_its_licence_and_where_its_weights_are_pinned(models: Path) -> None:
    info = row(models, "ultravox-v0.6-8b")
    assert (
        info.gated and info.licence == "MIT" and info.bf16_gb == pytest.approx(2 * info.parameters_m / 1000)
    )
    assert info.pinned["llama-3.1-8b-instruct"].startswith("meta-llama/Llama-3.1-8B-Instruct@0e9e39f2")
    assert row(models, "mini-ultravox").pinned == {} and not row(models, "mini-ultravox").gated
    assert row(models, "gemini").parameters_m is None
