"""The catalogue: cheap to read, honest about what is matched and what is missing, its rows those of the weights."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.ctranslate2_file import read_arrays
from engine.errors import ModelFilesError, ServiceError, UnknownKeyError
from engine.systems.catalogue import (
    MINI_PAIRS,
    MINI_SYSTEMS,
    MINI_TRANSCRIBERS,
    PAIRS,
    PUBLISHED_PAIRS,
    PUBLISHED_SYSTEMS,
    READS,
    SPEAKS,
    SYSTEMS,
    TRANSCRIBERS,
    UNAVAILABLE,
    WRITES,
    SystemInfo,
    backbone_of,
    destination_of,
    get_pair,
    get_spec,
    longest_trained_clip_s,
    match_between,
    match_of,
    n_layers_of,
    ready_pairs,
    require_states,
    revision_of,
    states_away,
    systems,
    unset_variables,
)
from engine.systems.checkpoint import fingerprint, read_tensors
from engine.systems.profiles import PAPER_SYSTEMS, PROFILES
from engine.systems.remote import RATE_VARIABLE, retry_policy_here
from engine.systems.weights import CHECKPOINTS, MODELS, missing_weights
from tests.engine.checkpoints import write_checkpoint
from tests.engine.fake_service import SENTINEL

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


def weights_m(folder: str) -> float:
    """Millions of weights in a folder that ships."""
    if folder in MINI_TRANSCRIBERS:
        arrays = read_arrays(MODELS / folder / "model.bin")
        parts = ("weight", "bias", "gamma", "beta")
        return sum(array.size for name, array in arrays.items() if name.endswith(parts)) / 1e6
    return sum(tensor.numel() for tensor in read_tensors(MODELS / folder).values()) / 1e6


@pytest.mark.parametrize("key", MINI_SYSTEMS)
def test_parameters_are_those_of_the_weights(key: str) -> None:
    spec = MINI_SYSTEMS[key]
    if spec.backbone == "mini-qwen2-audio" and spec.kind != "speech_llm":
        pytest.skip("its language model is a part of a folder; the speech LLM's row counts the whole")
    assert spec.parameters_m == pytest.approx(sum(map(weights_m, spec.folders)), abs=0.15)


def test_everything_of_theirs_ships() -> None:
    folders = [folder for spec in MINI_SYSTEMS.values() for folder in spec.folders]
    assert missing_weights(folders) == () and not set(folders) & set(CHECKPOINTS)
    assert all(set(pair.systems) <= set(MINI_SYSTEMS) for pair in MINI_PAIRS.values())


def decoder_m(
    layers: int,
    width: int,
    heads: tuple[int, int],
    inner: int,
    vocabulary: int,
    *,
    tied: bool = False,
    head: int = 0,
) -> float:
    """Millions of weights of a Llama-like model by the published config; norms and biases are below 0.01 %."""
    size = head or width // heads[0]
    attention = 2 * width * heads[0] * size + 2 * width * heads[1] * size
    return (layers * (attention + 3 * width * inner) + (1 if tied else 2) * vocabulary * width) / 1e6


def encoder_m(layers: int, width: int, mels: int) -> float:
    """Millions of weights of a Whisper encoder: attention, two maps of four times the width, two convolutions."""
    return (layers * 12 * width**2 + 3 * width * (mels + width) + 1500 * width) / 1e6


TOWER = encoder_m(32, 1280, 128)  # of whisper-large-v3 and its turbo, which all speech LLMs here hear with
LLAMA_8B = decoder_m(32, 4096, (32, 8), 14336, 128256)
LLAMA_1B = decoder_m(16, 2048, (32, 8), 8192, 128256, tied=True)
QWEN_7B = decoder_m(28, 3584, (28, 4), 18944, 152064)
PHI_MINI = decoder_m(32, 3072, (24, 8), 8192, 200064, tied=True)
QWEN_AUDIO = decoder_m(32, 4096, (32, 32), 11008, 156032)
VOXTRAL = decoder_m(30, 3072, (32, 8), 8192, 131072, head=128)
SMALL, LARGE = 244, 1543  # the published numbers of Whisper small and large


@pytest.mark.parametrize(
    ("key", "parameters_m"),
    [
        ("llama-3.1-8b-instruct", LLAMA_8B),
        ("llama-3.2-1b-instruct", LLAMA_1B),
        ("qwen2-7b-instruct", QWEN_7B),
        ("qwen2.5-7b-instruct", QWEN_7B),
        ("phi-4-mini-instruct", PHI_MINI),
        ("phi-4-multimodal-llm", PHI_MINI),
        ("qwen2-audio-7b-instruct-llm", QWEN_AUDIO),
        ("voxtral-mini-3b-2507-llm", VOXTRAL),
        ("ultravox-v0.6-8b", LLAMA_8B + TOWER + (10240 * 4096 + 2048 * 4096) / 1e6),
        ("ultravox-v0.5-1b", LLAMA_1B + TOWER + (10240 * 4096 + 2048 * 2048) / 1e6),
        ("qwen2-audio-7b-instruct", QWEN_AUDIO + TOWER + 1280 * 4096 / 1e6),
        ("voxtral-mini-3b-2507", VOXTRAL + TOWER + (5120 * 3072 + 3072 * 3072) / 1e6),
        ("whisper-large-v3-llama-3.1-8b", LARGE + LLAMA_8B),
        ("whisper-small-qwen2.5-7b", SMALL + QWEN_7B),
    ],
)
def test_parameters_are_those_of_the_published_shapes(key: str, parameters_m: float) -> None:
    assert SYSTEMS[key].parameters_m == pytest.approx(parameters_m, rel=1e-3)
    assert SYSTEMS[key].bf16_gb == pytest.approx(2 * parameters_m / 1e3, rel=1e-3)


def test_a_kind_decides_what_a_row_offers_and_what_it_is_made_of() -> None:
    offers = {"speech_llm": SPEAKS, "cascade": WRITES, "text_llm": READS}
    for key, spec in PUBLISHED_SYSTEMS.items():
        assert (spec.transcriber in TRANSCRIBERS) == (spec.kind == "cascade"), key
        if spec.is_remote:
            assert spec.capabilities == (("answer", "transcript") if spec.kind == "cascade" else ("answer",))
            assert (spec.folder, spec.backbone) == (None, "") and math.isnan(spec.parameters_m)
        else:
            assert spec.capabilities == offers[spec.kind] and spec.backbone and not spec.variables


def test_every_text_model_has_one_oracle() -> None:
    readers = [spec.backbone for spec in SYSTEMS.values() if spec.kind == "text_llm"]
    assert len(set(readers)) == len(readers)
    wanted = {spec.backbone for spec in SYSTEMS.values()}
    assert set(readers) == wanted


def test_a_pair_shares_its_oracle_with_its_cascade() -> None:
    for key, pair in PUBLISHED_PAIRS.items():
        cascade, oracle = SYSTEMS[pair.cascade], SYSTEMS[pair.text_oracle]
        assert (cascade.backbone, cascade.variables) == (oracle.backbone, oracle.variables), key
        assert key not in MINI_PAIRS


def test_the_papers_systems_are_those_of_its_table() -> None:
    with (ROOT / "assets" / "published" / "systems.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert set(PAPER_SYSTEMS) == set(rows) and len(rows) == 9
    for theirs, ours in PAPER_SYSTEMS.items():
        spec, row = SYSTEMS[ours], rows[theirs]
        assert spec.kind == row["kind"] and spec.is_remote == (row["access"] == "api")
        if row["transcriber"]:
            assert spec.transcriber == f"faster-{row['transcriber']}"
            assert spec.backbone.startswith(row["backbone"].lower())
    assert PROFILES["paper"].systems == tuple(PAPER_SYSTEMS.values())


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        ("ultravox-v0.6-8b", "exact"),
        ("ultravox-v0.6-8b-turbo", "exact"),
        ("ultravox-v0.6-8b-other", "none"),
        ("ultravox-v0.5-8b", "exact"),
        ("ultravox-v0.5-1b", "exact"),
        ("qwen2-audio-7b-instruct", "paper"),
        ("qwen2-audio-7b-instruct-self", "self"),
        ("qwen2-audio-7b-self", "self"),
        ("phi-4-multimodal", "paper"),
        ("phi-4-multimodal-adapters-off", "exact"),
        ("voxtral-mini-3b-2507", "self"),
        ("gemini", "none"),
        ("gemini-mini", "none"),
        ("endpoint", "none"),
        ("endpoint-mini", "none"),
        ("gemini-endpoint-mini", "none"),
        ("mini-ultravox-endpoint", "none"),
    ],
)
def test_how_a_pair_is_matched_is_read_from_its_checkpoints(
    published_models: Path, pair: str, match: str
) -> None:
    assert match_of(PAIRS[pair], published_models) == match


def test_every_pair_is_held_above() -> None:
    marks = test_how_a_pair_is_matched_is_read_from_its_checkpoints.pytestmark  # type: ignore[attr-defined]
    assert [row[0] for row in marks[0].args[1]] == list(PUBLISHED_PAIRS)


def test_every_system_with_weights_is_ready_on_its_published_folders(published_models: Path) -> None:
    found = {info.key: info for info in systems(published_models) if info.key in PUBLISHED_SYSTEMS}
    for key, spec in PUBLISHED_SYSTEMS.items():
        assert (found[key].status == "ready") == (not spec.is_remote), found[key].reason
    assert "set GEMINI_MODEL" in found["gemini"].reason
    assert revision_of(SYSTEMS["gemini"]) == "told with each answer"


KEYED = {"GEMINI_MODEL": "gemini-2.5-flash", "GOOGLE_API_KEY": SENTINEL}


@pytest.mark.parametrize(
    "key, environment, said",
    [
        ("gemini", {}, "set GEMINI_MODEL and GOOGLE_API_KEY or GEMINI_API_KEY in the environment"),
        ("gemini", {"GEMINI_API_KEY": SENTINEL}, "set GEMINI_MODEL in the environment"),
        ("gemini", KEYED, ""),
        ("endpoint-text", {}, "set CASCADE_LENS_TEXT_URL and CASCADE_LENS_TEXT_MODEL in the environment"),
        ("endpoint-audio", {"CASCADE_LENS_AUDIO_URL": "http://a/v1", "CASCADE_LENS_AUDIO_MODEL": "m"}, ""),
    ],
)
def test_what_is_not_set_is_named(key: str, environment: dict[str, str], said: str) -> None:
    assert unset_variables(get_spec(key), environment) == said


@pytest.mark.parametrize(
    "key, environment, said",
    [
        ("gemini", KEYED, "gemini-2.5-flash at generativelanguage.googleapis.com"),
        ("gemini", KEYED | {"GOOGLE_GEMINI_BASE_URL": "http://here:1"}, "gemini-2.5-flash at here"),
        (
            "endpoint-text",
            {
                "CASCADE_LENS_TEXT_URL": f"https://u:{SENTINEL}@h.org/v1?key={SENTINEL}",
                "CASCADE_LENS_TEXT_MODEL": "m",
            },
            "m at h.org",
        ),
        (
            "endpoint-text",
            {"CASCADE_LENS_TEXT_URL": "http://[", "CASCADE_LENS_TEXT_MODEL": "m"},
            "m at no usable address",
        ),
    ],
)
def test_a_destination_is_a_model_and_a_host_and_never_a_key(
    key: str, environment: dict[str, str], said: str
) -> None:
    assert destination_of(get_spec(key), environment) == said


def test_states_are_away_only_with_a_service() -> None:
    assert states_away(get_spec("mini-ultravox"), "lens") == ""
    require_states(get_spec("mini-ultravox"), "lens")
    assert states_away(get_spec("gemini"), "lens") == (
        "Not with Gemini: the model's states stay with the service, so there is nothing to read layer by layer. "
        "Choose a pair whose speech LLM runs here."
    )
    for what in UNAVAILABLE:
        with pytest.raises(ServiceError, match=r"^Not with Gemini: the "):
            require_states(get_spec("gemini"), what)


@pytest.mark.parametrize("rate, found", [("", 60), ("90", 90), (" 0.25 ", 0.25)])
def test_the_rate_is_read(rate: str, found: float) -> None:
    assert retry_policy_here({RATE_VARIABLE: rate}).requests_per_minute == found


@pytest.mark.parametrize("rate", ["many", "0", "-1", "inf", "nan"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ServiceError, match=f"^{RATE_VARIABLE} must be a number above 0; correct it.$"):
        retry_policy_here({RATE_VARIABLE: rate})
