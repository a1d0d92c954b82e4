"""Each system once, by key: which go when memory is short, where each goes, and what is loaded for it."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import answers
from engine.answers import answer_arms
from engine.audio import AudioClip
from engine.checks import BATCH_CHECK, Finding, batch_is_exact
from engine.errors import ModelFilesError, PlacementError, UnknownKeyError, is_out_of_memory
from engine.generate import run_arms
from engine.request import RunRequest
from engine.run import run
from engine.systems import cascade, loading
from engine.systems.base import SpeechLLM, WhiteBoxSystem
from engine.systems.cascade import PublishedTranscriber
from engine.systems.catalogue import (
    MINI_SYSTEMS,
    PAIRS,
    PUBLISHED_SYSTEMS,
    SYSTEMS,
    UNIT_MODELS,
    get_spec,
    get_unit_model,
    match_of,
    unit_model_lacks,
)
from engine.systems.loading import (
    GIB,
    LOADED,
    ModelCache,
    Placement,
    load_cascade,
    load_speech_llm,
    load_text_llm,
    load_transcriber,
    load_unit_model,
    placement_of,
    total_bytes,
    using,
)
from engine.systems.profiles import PROFILES, use_profile
from engine.systems.weights import CHECKPOINTS
from tests.engine.tiny_interleaved import write_centres, write_hubert, write_units_model
from tests.engine.tiny_qwen2_audio import write_qwen2
from tests.engine.tiny_systems import FromFolder, sound
from tests.engine.tiny_whisper import SAYS

LLAMA = "llama-3.1-8b-instruct"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    use_profile(PROFILES["mini"])


def place(**where: Any) -> None:
    use_profile(replace(PROFILES["mini"], **where))


def gpu(monkeypatch: pytest.MonkeyPatch, n_devices: int = 1) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)


def test_minis_are_exact_on_the_cpu_whatever_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch)
    place(device="cuda", dtype="bfloat16")
    for folder in {spec.backbone for spec in MINI_SYSTEMS.values()}:
        assert placement_of(folder) == Placement(CPU, torch.float32)


def test_published_models_take_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    place()
    assert placement_of(LLAMA) == Placement(CPU, torch.bfloat16)
    gpu(monkeypatch)
    assert placement_of(LLAMA) == Placement(torch.device("cuda"), torch.bfloat16)


def test_the_settings_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, 2)
    place(device="cuda:1", dtype="float32")
    assert placement_of(LLAMA) == Placement(torch.device("cuda", 1), torch.float32)
    place(device="cpu")
    assert placement_of(LLAMA).device == CPU


@pytest.mark.parametrize(
    ("device", "words"), [("cuda:2", "There is no cuda:2 on"), ("gpu", 'no device "gpu"')]
)
def test_a_device_that_is_not_here_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, words: str
) -> None:
    gpu(monkeypatch, 2)
    place(device=device)
    with pytest.raises(PlacementError, match=words):
        placement_of(LLAMA)


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf")])
def test_a_memory_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(PlacementError, match=r"GiB cannot be used; give more than 0\."):
        replace(PROFILES["mini"], memory_gib=wrong)


class Weights:
    """What a part's loading gives."""


def part(resident: ModelCache, name: str, n_bytes: int = 40, needs: tuple[str, ...] = ()) -> Weights:
    return resident.get(name, Weights, name=name, size=lambda: n_bytes, needs=needs)


@pytest.fixture
def resident() -> ModelCache:
    return ModelCache(lambda held: 100)


def test_a_part_is_loaded_once(resident: ModelCache) -> None:
    assert part(resident, "a") is part(resident, "a") and resident.held_bytes == 40


def test_the_least_recently_used_makes_room(resident: ModelCache) -> None:
    part(resident, "a"), part(resident, "b"), part(resident, "a")
    part(resident, "c")
    assert resident.loaded == ("a", "c") and resident.held_bytes == 80


def test_what_is_unloaded_is_gone_from_memory(resident: ModelCache) -> None:
    """Modules refer to themselves: counting references would not free them."""
    first = part(resident, "a")
    first.itself = first  # type: ignore[attr-defined]
    seen = weakref.ref(first)
    del first
    part(resident, "b"), part(resident, "c")
    assert resident.loaded == ("b", "c") and seen() is None


def test_without_a_limit_everything_stays() -> None:
    resident = ModelCache(lambda held: float("inf"))
    for name in "abcdef":
        part(resident, name, 10**12)
    assert resident.loaded == tuple("abcdef")


def test_a_shared_part_is_counted_once_and_goes_after_what_holds_on_to_it(resident: ModelCache) -> None:
    part(resident, "llm", 60)
    part(resident, "ears", 20, ("llm",)), part(resident, "cascade", 0, ("llm",))
    assert resident.held_bytes == 80
    part(resident, "other", 90)
    assert resident.loaded == ("other",), "ears without their language model would be left"


def test_a_part_never_pushes_out_what_it_needs(resident: ModelCache) -> None:
    part(resident, "llm", 60), part(resident, "old", 30)
    part(resident, "ears", 40, ("llm",))
    assert resident.loaded == ("llm", "ears")


def test_what_is_in_use_is_never_unloaded(resident: ModelCache) -> None:
    with resident.lease():
        part(resident, "a"), part(resident, "b")
        with resident.lease():  # part of the outer one
            part(resident, "a")
        with pytest.raises(PlacementError, match=r"^c needs about .* beside what is in use \(b, a\): choose"):
            part(resident, "c")
    part(resident, "c")
    assert resident.loaded == ("a", "c")


def test_what_a_part_needs_is_in_use_with_it(resident: ModelCache) -> None:
    part(resident, "llm", 60), part(resident, "ears", 20, ("llm",))
    with resident.lease():
        part(resident, "ears", 20, ("llm",))
        with pytest.raises(PlacementError, match="beside what is in use"):
            part(resident, "other", 50)


def test_another_threads_use_counts(resident: ModelCache) -> None:
    with resident.lease():
        part(resident, "a", 60)
        with ThreadPoolExecutor(1) as pool, pytest.raises(PlacementError, match="in use"):
            pool.submit(part, resident, "b", 60).result()


def test_what_can_never_fit_is_refused_and_nothing_is_unloaded_for_it(resident: ModelCache) -> None:
    part(resident, "a")
    with pytest.raises(PlacementError, match=r"big needs about 3.0 GiB and 0.0 GiB may be used: choose a sm"):
        part(resident, "big", 3 * GIB)
    assert resident.loaded == ("a",)


def test_a_loading_that_fails_leaves_nothing(resident: ModelCache) -> None:
    def broken() -> Weights:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        resident.get("a", broken, size=lambda: 40)
    assert resident.loaded == () and resident.held_bytes == 0


def test_the_budget_is_what_is_set_else_what_the_gpu_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    place(memory_gib=1.5)
    assert total_bytes(0) == total_bytes(GIB) == 1.5 * GIB
    place()
    assert total_bytes(0) == float("inf"), "without a GPU nothing is limited"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * GIB, 80 * GIB))
    assert total_bytes(0) == 8 * GIB and total_bytes(5 * GIB) == 13 * GIB
    place(device="cpu")
    assert total_bytes(0) == float("inf")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("not enough memory: you tried to allocate 8589934592 bytes"), True),
        (RuntimeError("CUDA failed with error out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("expected all tensors on one device"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error: Exception, told: bool) -> None:
    assert is_out_of_memory(error) is told
    wanted = PlacementError if told else type(error)
    with pytest.raises(wanted) as caught, using(ModelCache(lambda held: 100)):
        raise error
    if told:
        assert "set --memory-gib" in str(caught.value) and "\n" not in str(caught.value)


def test_a_real_lack_of_memory_is_told() -> None:
    with pytest.raises(PlacementError, match="did not suffice"), using(ModelCache(lambda held: 100)):
        torch.empty(2**60, dtype=torch.uint8)


def test_what_the_failed_run_held_is_freed(resident: ModelCache) -> None:
    seen: list[Any] = []

    def work() -> None:
        weights, states = part(resident, "a"), Weights()
        seen.extend((weakref.ref(weights), weakref.ref(states)))
        raise MemoryError

    with pytest.raises(PlacementError), using(resident):
        work()
    assert resident.loaded == () and [one() for one in seen] == [None, None]


REQUEST = RunRequest(sound(1.7), "topic", pair="mini-ultravox", reference="the queen scored")


def test_the_run_after_one_that_ran_out_of_memory_works(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(REQUEST)
    right = answer_arms

    def too_large(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.setattr(answers, "answer_arms", too_large)
    with pytest.raises(
        PlacementError, match="The memory did not suffice for this run: choose a smaller model"
    ):
        run(REQUEST)
    assert not [key for key in LOADED.loaded if tiny_models in key]
    monkeypatch.setattr(answers, "answer_arms", right)
    again = run(REQUEST)
    assert again.lanes[0].answer.text == expected.lanes[0].answer.text


def test_systems_that_share_a_backbone_are_loaded_and_unloaded_together(
    models: Path, qwen_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's own parts, under a budget of bytes: one pair at a time."""
    for name, source in (("mini-llama", models), ("mini-ultravox", models), ("mini-qwen2", qwen_models)):
        shutil.copytree(source / name, tmp_path / name, ignore=shutil.ignore_patterns("erasers"))
    (tmp_path / "mini-whisper").mkdir()
    monkeypatch.setattr(cascade, "Transcriber", FromFolder)
    sizes = {name: loading._text_bytes(name, tmp_path) for name in ("mini-llama", "mini-qwen2")}
    speech_bytes = sum(file.stat().st_size for file in (tmp_path / "mini-ultravox").glob("*.safetensors"))
    resident = ModelCache(lambda held: sizes["mini-llama"] + speech_bytes)
    monkeypatch.setattr(loading, "LOADED", resident)
    speech = loading.load_speech_llm("mini-ultravox", tmp_path)
    told = loading.load_cascade("mini-cascade", tmp_path)
    assert told.language_model is speech.language_model
    header = 0.1 * speech_bytes
    assert resident.held_bytes == pytest.approx(sizes["mini-llama"] + speech_bytes, abs=header)
    seen = weakref.ref(speech.language_model)
    del speech, told
    loading.load_text_llm("mini-qwen2", tmp_path)
    gc.collect()
    assert seen() is None, "what made room is still in memory"
    assert resident.held_bytes == sizes["mini-qwen2"] and "mini-qwen2" in str(resident.loaded)


ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def own_models(models: Path, tmp_path: Path) -> Path:
    """A folder that no other test has loaded from."""
    for name in ("mini-llama", "mini-ultravox"):
        shutil.copytree(models / name, tmp_path / name, ignore=shutil.ignore_patterns("erasers"))
    return tmp_path


def test_each_system_is_loaded_once_and_all_share_one_backbone(
    own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascade, "Transcriber", FromFolder)
    with ThreadPoolExecutor(4) as pool:
        speech = list(pool.map(lambda _: load_speech_llm("mini-ultravox", own_models), range(4)))
    assert all(system is speech[0] for system in speech)
    told = load_cascade("mini-cascade", own_models)
    assert told is load_cascade("mini-cascade", own_models)
    assert told.backbone is load_text_llm("mini-llama", own_models)
    assert told.language_model is speech[0].language_model


def test_unknown_keys_are_refused(own_models: Path) -> None:
    for load in (load_speech_llm, load_cascade, load_text_llm):
        with pytest.raises(UnknownKeyError, match='no system "nonsense"'):
            load("nonsense", own_models)


def test_missing_weights_are_refused_and_found_once_they_are_back(own_models: Path) -> None:
    (own_models / "mini-llama").rename(own_models / "away")
    with pytest.raises(ModelFilesError, match="mini-llama lacks"):
        load_speech_llm("mini-ultravox", own_models)
    (own_models / "away").rename(own_models / "mini-llama")
    assert load_speech_llm("mini-ultravox", own_models).spec.key == "mini-ultravox"


def test_a_config_cannot_lead_out_of_the_models_folder(own_models: Path) -> None:
    config = own_models / "mini-ultravox" / "config.json"
    changed = json.loads(config.read_text(encoding="utf-8")) | {"text_model_id": "../elsewhere"}
    config.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises((UnknownKeyError, ModelFilesError)):
        load_speech_llm("mini-ultravox", own_models)


def test_batches_are_used_where_they_equal_their_singles(own_models: Path) -> None:
    assert batch_is_exact("mini-ultravox", own_models)


@pytest.mark.parametrize(("failed", "exact"), [((), True), ((BATCH_CHECK,), False)])
def test_arms_run_one_by_one_where_only_parity_fails(
    own_models: Path, monkeypatch: pytest.MonkeyPatch, failed: tuple[str, ...], exact: bool
) -> None:
    findings = [Finding(name, "m", float(name in failed), 0) for name in ("a", BATCH_CHECK)]
    monkeypatch.setattr("engine.checks.check_adapter", lambda _system: findings)
    assert batch_is_exact("mini-ultravox", own_models) is exact


def test_any_other_failed_check_stops_the_system(own_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("the span", "3 of 4", 3, 0), Finding(BATCH_CHECK, "m", 0, 0)]
    monkeypatch.setattr("engine.checks.check_adapter", lambda _system: findings)
    with pytest.raises(ModelFilesError, match=r"fails its adapter check: the span \(3 of 4\)"):
        batch_is_exact("mini-ultravox", own_models)


def test_importing_the_registry_loads_no_model_library() -> None:
    script = "import sys, engine.systems.loading; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "transformers", "faster_whisper", "ctranslate2"} & set(done.stdout.split())


HERE = {key: spec for key, spec in PUBLISHED_SYSTEMS.items() if not spec.is_remote}
SPEECH = [key for key, spec in HERE.items() if spec.kind == "speech_llm"]
CASCADES = [key for key, spec in HERE.items() if spec.kind == "cascade"]
ORACLES = [key for key, spec in HERE.items() if spec.kind == "text_llm"]
QUESTION = "Is this positive or negative?"


@pytest.mark.parametrize("key", SPEECH)
def test_a_speech_llm_loads_hears_and_answers(published_models: Path, key: str) -> None:
    system = load_speech_llm(key, published_models)
    assert isinstance(system, SpeechLLM) and system.spec is get_spec(key)
    assert system is load_speech_llm(key, published_models)
    prepared = system.prepare(system.hear(sound(1.7)), QUESTION)
    assert prepared.heard.embeddings.isfinite().all() and prepared.heard.text == ""
    assert run_arms(system, prepared, max_new_tokens=3).decoded[0].token_ids


@pytest.mark.parametrize("key", SPEECH)
def test_it_passes_the_check_that_the_page_makes_when_it_loads(published_models: Path, key: str) -> None:
    assert batch_is_exact(key, published_models) in (True, False)  # raises where a serious check fails


@pytest.mark.parametrize("key", CASCADES)
def test_a_cascade_reads_what_its_published_ears_wrote(published_models: Path, key: str) -> None:
    system = load_cascade(key, published_models)
    assert isinstance(system, WhiteBoxSystem)
    heard = system.hear(sound(1.7))
    assert heard.text == " ".join(SAYS) and len(heard.words) == len(SAYS)
    assert run_arms(system, system.prepare(heard, QUESTION), max_new_tokens=2).decoded
    assert system.transcriber is load_transcriber(str(SYSTEMS[key].transcriber), published_models)


def test_published_ears_hear_as_the_profile_says(published_models: Path) -> None:
    key = "whisper-small-llama-3.2-1b"
    usual = load_cascade(key, published_models)
    profile = replace(PROFILES["mini"], language="de", drop_silence=True)
    use_profile(profile)
    try:
        told = load_cascade(key, published_models)
        assert isinstance(told.transcriber, PublishedTranscriber)
        assert told.transcriber._settings.words == profile.hearing.words != PROFILES["mini"].hearing.words
        silence = AudioClip(np.zeros(32_000, np.float32), "silence")
        assert told.hear(silence).text == "" != usual.hear(silence).text
    finally:
        use_profile(PROFILES["mini"])
    assert load_cascade(key, published_models) is usual


@pytest.mark.parametrize("key", ORACLES)
def test_an_oracle_reads_the_true_transcript(published_models: Path, key: str) -> None:
    system = load_text_llm(key, published_models)
    prepared = system.prepare(system.hear_text("the queen scored"), QUESTION)
    assert prepared.span[1] > prepared.span[0]
    assert run_arms(system, prepared, max_new_tokens=2).decoded


@pytest.mark.parametrize("key", [key for key, pair in PAIRS.items() if pair.speech_llm in SPEECH])
def test_a_match_is_exact_or_self_if_and_only_if_the_weights_are_one(
    published_models: Path, key: str
) -> None:
    """What the catalogue tells from files is what the registry then runs."""
    pair = PAIRS[key]
    speech = load_speech_llm(pair.speech_llm, published_models)
    cascade = load_cascade(pair.cascade, published_models)
    oracle = load_text_llm(pair.text_oracle, published_models)
    assert cascade.language_model is oracle.language_model
    theirs = {id(weight) for weight in cascade.language_model.parameters()}
    shared = theirs & {id(weight) for weight in speech.language_model.parameters()}
    same = match_of(pair, published_models) in ("exact", "self")
    assert shared == (theirs if same else set())


def test_ultravox_and_its_cascade_run_the_same_modules(published_models: Path) -> None:
    speech = load_speech_llm("ultravox-v0.6-8b", published_models)
    llama = load_text_llm("llama-3.1-8b-instruct", published_models)
    assert speech.language_model is llama.language_model
    assert load_speech_llm("ultravox-v0.5-8b", published_models).language_model is llama.language_model
    assert load_speech_llm("ultravox-v0.5-1b", published_models).language_model is not llama.language_model


def test_phi_with_its_adapters_is_another_model_on_the_same_weights(published_models: Path) -> None:
    speech = load_speech_llm("phi-4-multimodal", published_models)
    plain = load_text_llm("phi-4-multimodal-llm", published_models)
    assert speech.language_model is not plain.language_model
    embeddings = plain.prepare(plain.hear_text("the queen"), QUESTION).embeddings
    with torch.inference_mode():
        apart = speech.language_model(inputs_embeds=embeddings).logits
        gap = (apart - plain.language_model(inputs_embeds=embeddings).logits).abs().max()
    assert float(gap) > 0.01


def test_the_whisper_that_an_ultravox_names_needs_no_weights(published_models: Path) -> None:
    assert not list((published_models / "whisper-large-v3-turbo").glob("*.safetensors"))


@pytest.mark.parametrize("key", ["ultravox-v0.6-8b", "qwen2-audio-7b", "voxtral-mini-3b-2507"])
def test_weights_that_are_not_here_are_one_sentence(tmp_path: Path, key: str) -> None:
    with pytest.raises(ModelFilesError) as caught:
        load_speech_llm(key, tmp_path)
    assert str(tmp_path) not in str(caught.value)


def write_sims(models: Path) -> None:
    spec = get_unit_model("sims-7b")
    text = write_qwen2(models / spec.backbone)
    write_units_model(models / "sims-7b", text)
    write_centres(write_hubert(models / spec.audio_base) / "centres.npz")


def test_every_part_of_a_published_model_can_be_fetched() -> None:
    for spec in UNIT_MODELS.values():
        fetched = [name in CHECKPOINTS for name in spec.folders]
        assert spec.kind == "unit_lm" and len(fetched) == 3
        assert all(fetched) == (spec.key != "mini-interleaved") and any(fetched) == all(fetched)


def test_a_model_is_found_by_its_key_and_loaded_once(tmp_path: Path) -> None:
    write_sims(tmp_path)
    assert not unit_model_lacks(get_unit_model("sims-7b"), tmp_path)
    system = load_unit_model("sims-7b", tmp_path)
    assert system.spec.name == "SIMS-7B" and load_unit_model("sims-7b", tmp_path) is system


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    spec = get_unit_model("sims-7b")
    assert unit_model_lacks(spec, tmp_path) == (
        "weights are missing: sims-7b, qwen2.5-7b-vocabulary, mhubert-base-25hz"
    )
    write_sims(tmp_path)
    (tmp_path / "mhubert-base-25hz" / "centres.npz").unlink()
    assert "convert them to mhubert-base-25hz/centres.npz" in unit_model_lacks(spec, tmp_path)
    with pytest.raises(ModelFilesError, match=r"centres\.npz holds no readable centres"):
        load_unit_model("sims-7b", tmp_path)


def test_an_unknown_key_lists_those_there_are() -> None:
    with pytest.raises(UnknownKeyError, match=r'no speech-text model "x".*mini-interleaved, sims-7b'):
        get_unit_model("x")
