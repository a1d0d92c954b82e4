"""Facts about plans, clips and keys: what is in them, what makes a result new, what is refused."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import UnknownKeyError
from engine.systems.catalogue import get_spec
from engine.systems.profiles import WhisperSettings
from engine.tasks import MAX_NEW_TOKENS
from engine.voice import Recipe, recipe_of
from precompute import keys
from precompute.corpora.item import question_of
from precompute.corpora.mini_world import TASKS, VOICE_TASKS, WORDS_TASKS, count_items, mini_items
from precompute.estimate import duration, estimate, format_plan
from precompute.mini.voices import train_voices
from precompute.mini_clips import VOICES
from precompute.plan import Plan, batch_size_for, listen_batches, make_plan
from precompute.settings import Settings
from precompute.store import Store
from tests.precompute.fake_family import fake_plan, run_fake, write_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("fake") / "models")


@pytest.fixture(scope="module")
def full(models: Path) -> Plan:
    return make_plan(Settings(models=models))


def test_no_voice_was_heard_in_training() -> None:
    seen = {voice.name for voice in train_voices()}
    variants = {name.split("+")[-1] for name in seen}
    assert not seen & set(VOICES) and not variants & {name.split("+")[1] for name in VOICES}


def test_the_full_plan_is_what_was_promised(full: Plan) -> None:
    """At least 300 items a task where the world has them, three voices, noise where the words decide."""
    for task in TASKS:
        clips = [clip for clip in full.clips if clip.item.task == task]
        assert len({clip.item.item_id for clip in clips}) == min(300, count_items(task))
        voices = {c.voice for c in clips}
        assert len(voices) == (4 if task == "speaker" else 3)
        conditions = {c.condition.name for c in clips}
        noisy = {c.voice for c in clips if c.condition.noise != "clean"}
        if task in WORDS_TASKS:
            babble = {f"babble {snr_db} dB" for snr_db in (15, 10, 5, 0)}
            assert conditions == {"clean", "white 10 dB", "room", *babble} and len(noisy) == 2
        else:
            assert conditions == {"clean"} and not noisy
    speakers = Counter(clip.gold for clip in full.clips if clip.item.task == "speaker")
    assert speakers["man"] == speakers["woman"]
    assert any(note.startswith("trivia has") and "all are taken" in note for note in full.notes)
    assert any("Festival" in note for note in full.notes)


def test_clips_have_names_of_their_own_and_recipes_that_make_them(full: Plan) -> None:
    assert len({clip.clip_id for clip in full.clips}) == len(full.clips)
    assert len({clip.recipe.to_json() for clip in full.clips if clip.item.task != "speaker"}) >= 0.9 * sum(
        clip.item.task != "speaker" for clip in full.clips
    )
    for clip in full.clips[::97]:
        assert recipe_of(clip.recipe.to_json()) == clip.recipe
        assert clip.recipe.text == clip.item.text and clip.recipe.noise == clip.condition.noise


def test_levels_of_one_noise_share_the_draw_and_the_voice_its_prosody(full: Plan) -> None:
    item = next(clip.item for clip in full.clips if clip.item.task == "topic")
    recipes = [clip.recipe for clip in full.clips if clip.item is item and clip.voice == VOICES[0]]
    assert len(recipes) == 7 and len({recipe.sound for recipe in recipes}) == 1
    assert len({recipe.seed for recipe in recipes if recipe.noise == "babble"}) == 1
    assert len({recipe.seed for recipe in recipes}) == 4, "clean, babble, white and room"


def test_items_are_the_same_each_time_and_a_smaller_limit_is_a_beginning() -> None:
    for task in TASKS:
        items = mini_items(task, 40)
        assert items == mini_items(task, 40) and items[:10] == mini_items(task, 10)
        assert len({item.item_id for item in items}) == 40
        assert all((item.gold == "") == (task == "speaker") for item in items)
        assert all(bool(item.feeling) == (task in VOICE_TASKS and task != "speaker") for item in items)
    emotion = mini_items("emotion", 10**6)
    assert max(Counter(item.group for item in emotion).values()) == 2, "a line with two labels is two items"


def test_quick_is_twenty_items_one_voice_clean_and_babble(models: Path) -> None:
    plan = make_plan(Settings(quick=True, models=models))
    assert {len({c.item.item_id for c in plan.clips if c.item.task == t}) for t in TASKS} == {20}
    assert {c.condition.name for c in plan.clips} == {"clean", "babble 5 dB"}
    assert {c.voice for c in plan.clips if c.item.task != "speaker"} == {VOICES[0]}
    speakers = Counter(c.gold for c in plan.clips if c.item.task == "speaker")
    assert speakers == {"woman": 10, "man": 10}, "one voice an item, in turn: else there is one answer only"
    assert set(plan.clips) <= set(make_plan(Settings(models=models)).clips), "the full run reuses it"


def test_systems_tasks_and_limit_choose(models: Path) -> None:
    plan = make_plan(Settings(systems=("mini-llama",), tasks=("trivia", "sarcasm"), limit=3, models=models))
    assert [spec.key for spec in plan.systems] == ["mini-llama"]
    assert Counter(c.item.task for c in plan.clips) == {"trivia": 3 * 15, "sarcasm": 3 * 3}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(profile="maxi"), 'no profile "maxi"'),
        (Settings(systems=("gpt",)), 'no system "gpt"'),
        (Settings(tasks=("golf",)), 'no task "golf"'),
        (Settings(limit=0), "give 1 or more"),
    ],
)
def test_what_does_not_exist_is_refused(models: Path, settings: Settings, message: str) -> None:
    with pytest.raises(UnknownKeyError, match=message):
        make_plan(replace(settings, models=models))


def test_a_system_without_weights_is_left_out_and_said(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models")
    (models / "mini-whisper" / "model.safetensors").unlink()
    plan = make_plan(Settings(limit=1, models=models))
    assert "mini-cascade" not in [spec.key for spec in plan.systems]
    assert "mini-cascade is left out: weights are missing: mini-whisper." in plan.notes
    with pytest.raises(UnknownKeyError, match="mini-cascade cannot run here"):
        make_plan(Settings(systems=("mini-cascade",), models=models))


def test_what_a_result_depends_on_makes_it_new(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, asked = Recipe("the match", "en-us+f3", 160, 50, 50, 100), question_of("topic")
    folders = (models / "mini-ultravox", models / "mini-llama")

    def found() -> list[str]:
        keys.folder_hash.cache_clear()
        return [
            keys.render_key(recipe),
            keys.transcribe_key(recipe, models / "mini-whisper"),
            keys.listen_key(recipe, asked, folders),
            keys.read_key("the match", asked, folders[1]),
        ]

    before = found()
    assert len(set(before)) == 4 and found() == before
    other = replace(recipe, noise="babble", snr_db=5.0)
    assert keys.render_key(other) != before[0] and keys.listen_key(other, asked, folders) != before[2]
    assert keys.read_key("the match", question_of("trivia"), folders[1]) != before[3]
    assert keys.read_key("the matches", asked, folders[1]) != before[3]
    weights = models / "mini-llama" / "model.safetensors"
    old = weights.read_bytes()
    weights.write_bytes(b"trained again")
    assert [a == b for a, b in zip(before, found(), strict=True)] == [True, True, False, False]
    weights.write_bytes(old)
    (models / "mini-llama" / "revision.txt").write_text("a name only")
    assert found() == before
    monkeypatch.setitem(keys.CODE_VERSION, "render", 2)
    assert [a == b for a, b in zip(before, found(), strict=True)] == [False, False, False, True]
    keys.folder_hash.cache_clear()


def test_only_a_published_transcriber_is_keyed_by_how_it_hears(models: Path, tmp_path: Path) -> None:
    """The shipped transcribers ignore it: their keys, and so the shipped results, are what they were."""
    small = write_models(tmp_path / "models") / "faster-whisper-small"
    small.mkdir()
    plan = fake_plan(small.parent, n_items=1)
    clip, mini, published = plan.clips[0], get_spec("mini-cascade"), get_spec("whisper-small-llama-3.2-1b")
    told = [plan, replace(plan, hearing=WhisperSettings("de")), replace(plan, hearing=WhisperSettings("fr"))]
    told.append(replace(plan, hearing=WhisperSettings(drop_silence=True)))
    found = {one.transcribe_key(mini, clip) for one in told}
    assert found == {keys.transcribe_key(clip.recipe, small.parent / "mini-whisper")}
    assert len({one.transcribe_key(published, clip) for one in told}) == 4
    profile = tmp_path / "own.yaml"
    profile.write_text("systems: [mini-llama]\nlanguage: fr\n")
    made = make_plan(Settings(profile=str(profile), limit=1, models=models))
    assert made.hearing == WhisperSettings("fr") and made.settings.profile == str(profile)
    assert {batch.shared.hearing for batch in listen_batches(made, Store(tmp_path))} == {made.hearing}


def test_large_files_of_the_hubs_cache_are_told_by_their_name_and_adapters_count(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / hashlib.sha256(b"weights").hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    plain, linked = tmp_path / "plain", tmp_path / "linked"
    for folder in (plain, linked):
        folder.mkdir()
    (plain / "model.safetensors").write_bytes(b"weights")
    (linked / "model.safetensors").symlink_to(blob)
    assert keys.folder_hash(plain) == keys.folder_hash(linked)
    keys.folder_hash.cache_clear()
    blob.write_bytes(b"not read: the cache named it for what it held")
    assert keys.folder_hash(plain) == keys.folder_hash(linked)
    for below in ("speech-lora", "erasers"):
        (plain / below).mkdir()
        before = keys.folder_hash(plain)
        (plain / below / "model.safetensors").write_bytes(b"adapter")
        keys.folder_hash.cache_clear()
        assert (keys.folder_hash(plain) == before) is (below == "erasers")


def test_the_decoding_in_the_keys_is_that_of_the_engine() -> None:
    assert f"greedy, at most {MAX_NEW_TOKENS} tokens" == keys.DECODING


def test_batches_keep_to_one_task_and_one_model(models: Path, tmp_path: Path) -> None:
    plan = make_plan(Settings(quick=True, models=models))
    batches = listen_batches(plan, Store(tmp_path))
    for batch in batches:
        assert len({job.payload.question.task.key for job in batch.jobs}) == 1 and len(batch.jobs) <= 32
        assert len({(job.kind, job.model) for job in batch.jobs}) == 1
    made = [key for batch in batches for key in batch.keys]
    assert len(made) == len(set(made)) >= 3 * len(plan.clips), (
        "sound, transcript and answer of each clip, once"
    )


def test_the_estimate_shrinks_to_nothing_as_work_is_done(tmp_path: Path, models: Path) -> None:
    plan = fake_plan(models, n_items=10)
    before = estimate(plan, Store(tmp_path), 2)
    assert before.seconds > 0 and before.n_bytes > 0 and before.guessed
    assert before.n_left["render"] == before.n_left["listen"] == len(plan.clips)
    assert estimate(plan, Store(tmp_path), 1).seconds > before.seconds
    assert "guessed for" in format_plan(plan, Store(tmp_path), 2)
    run_fake(plan, tmp_path)
    done = Store(tmp_path)
    after = estimate(plan, done, 2)
    assert after.seconds == 0 and not any(after.n_left.values())
    shown = format_plan(plan, done, 2)
    assert "Everything is done" in shown
    line = next(line for line in shown.splitlines() if line.startswith("mini-cascade") and "room" in line)
    assert line.split() == ["mini-cascade", "topic", "room", "1", "10", "10", "10"]
    more = estimate(fake_plan(models, n_items=20), done, 2)
    assert not more.guessed and more.seconds > 0, "seconds come from what is done"


def test_planning_computes_nothing_and_writes_nothing(tmp_path: Path, models: Path) -> None:
    format_plan(fake_plan(models), Store(tmp_path / "none"), 2)
    assert list(tmp_path.iterdir()) == []


def test_durations_are_in_words() -> None:
    assert [duration(s) for s in (0, 89, 90, 3600, 9000)] == ["0 s", "89 s", "2 min", "60 min", "2.5 h"]


def test_a_batch_of_larger_models_is_smaller() -> None:
    """32 clips of the laptop's systems were half an hour without a word of progress, and lost by a kill."""
    minis, laptop = (get_spec(key) for key in ("mini-ultravox", "bridge-smollm2"))
    assert batch_size_for([minis], 32, 2) == 32 and batch_size_for([minis, laptop], 32, 2) == 2
