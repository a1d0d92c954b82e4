"""Profiles: those that are there, files of one's own and what is wrong with them, and what a profile still needs."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import EngineError, ModelFilesError, UnknownKeyError
from engine.systems import profiles
from engine.systems.catalogue import GEMINI_KEYS, LAPTOP_PAIRS, MINI_PAIRS, PAIRS, SYSTEMS, ready_pairs
from engine.systems.profiles import (
    DEFAULT_PROFILE,
    PROFILES,
    WhisperSettings,
    offered_pairs,
    preparation,
    profile_in_use,
    read_profile,
    use_profile,
)
from engine.systems.weights import CHECKPOINTS, HOME_VARIABLE, folder_of, missing_weights, size_gb

TRIO = "systems: [ultravox-v0.5-1b, whisper-small-llama-3.2-1b, llama-3.2-1b-instruct]\n"


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "weights"))
    for name in ("GEMINI_MODEL", *GEMINI_KEYS):
        monkeypatch.delenv(name, raising=False)
    yield
    use_profile(PROFILES["mini"])


def written(tmp_path: Path, text: str, name: str = "own.yaml") -> str:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_the_profiles_that_are_there_name_systems_and_pairs_that_are_there() -> None:
    assert list(PROFILES) == ["laptop", "mini", "small", "paper"] and DEFAULT_PROFILE == "laptop"
    for key, profile in PROFILES.items():
        assert (
            profile.key == key and set(profile.systems) <= set(SYSTEMS) and set(profile.pairs) <= set(PAIRS)
        )
        assert read_profile(key) is profile
    needed = {name for pair in PROFILES["small"].pairs for name in PAIRS[pair].systems}
    assert needed == set(PROFILES["small"].systems)


def test_a_file_of_ones_own_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    text = TRIO + (
        "name: my machine\ndevice: cuda:1\ndtype: float32\nmemory_gib: 20\npairs: [mini-ultravox]\n"
        "folders: {llama-3.2-1b-instruct: llama}\nlanguage: de\ndrop_silence: yes\n"
    )
    found = read_profile(written(tmp_path, text))
    assert (found.key, found.name, found.device, found.dtype) == ("own", "my machine", "cuda:1", "float32")
    assert found.memory_gib == 20.0 and found.pairs == ("mini-ultravox",)
    assert found.hearing == WhisperSettings("de", drop_silence=True)
    # A path is told from where the file lies.
    assert found.folders == {"llama-3.2-1b-instruct": tmp_path / "llama"}
    use_profile(found)
    assert profile_in_use() == found
    assert folder_of("llama-3.2-1b-instruct", tmp_path) == tmp_path / "llama"


def test_what_a_file_leaves_out_is_filled_in(tmp_path: Path) -> None:
    """The pairs are by default those whose three systems it names."""
    found = read_profile(written(tmp_path, TRIO, "lab.yml"))
    assert (found.key, found.name, found.pairs) == ("lab", "lab", ("ultravox-v0.5-1b",))
    assert (found.device, found.dtype, found.memory_gib, dict(found.folders)) == ("", "", None, {})
    assert found.hearing == WhisperSettings() == PROFILES["paper"].hearing, "every task is in English"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("systems: [nonsense]", 'There is no system "nonsense"'),
        (TRIO + "pairs: [nonsense]", 'There is no pair "nonsense"'),
        (TRIO + "system: []", 'holds "system"; it may hold device, drop_silence, dtype,'),
        ("{", "cannot be read; see docs/guide.md for an example"),
        ("systems: [a\n b: c", "cannot be read"),
        ("!!python/object/apply:os.system [true]", "cannot be read"),
        ("- mini-ultravox", "holds no keys"),
        ("", "holds no keys"),
        ("just words", "holds no keys"),
        ("name: x", "names no systems; list their keys under systems"),
        ("systems: []", "names no systems"),
        ("systems: mini-ultravox", "systems must be a list of keys"),
        ("systems: [3]", "systems must be a list of keys"),
        ("systems: {a: b}", "systems must be a list of keys"),
        (TRIO + "pairs: ultravox-v0.5-1b", "pairs must be a list of keys"),
        (TRIO + "dtype: int4", "dtype must be bfloat16 or float32"),
        (TRIO + "memory_gib: 0", "GiB cannot be used; give more than 0"),
        (TRIO + "memory_gib: -3", "GiB cannot be used; give more than 0"),
        (TRIO + "memory_gib: much", "memory_gib must be a number above 0"),
        (TRIO + "memory_gib: .nan", "GiB cannot be used; give more than 0"),
        (TRIO + "memory_gib: .inf", "GiB cannot be used; give more than 0"),
        (TRIO + "memory_gib: yes", "memory_gib must be a number above 0"),
        (TRIO + "language: xx", 'knows no language "xx"; give one of its codes, such as en, de or zh'),
        (TRIO + "language: English", 'knows no language "English"'),
        (TRIO + "language: no", 'language must be a code such as en; put "no", which'),
        (TRIO + "language: [en]", "language must be a code such as en"),
        (TRIO + "drop_silence: 2", "drop_silence must be true or false"),
        (TRIO + "drop_silence: 'yes'", "drop_silence must be true or false"),
        (TRIO + "folders: [a]", "folders must be a map from a model folder to its path"),
        (
            TRIO + "folders: {llama-3.2-1b-instruct: }",
            "folders must be a map from a model folder to its path",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        read_profile(written(tmp_path, text))
    message = str(caught.value)
    assert words in message and str(tmp_path) not in message and "\n" not in message and len(message) < 300
    assert profile_in_use() is PROFILES["mini"]


def test_a_file_that_is_not_text_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("own.yaml", "none.yaml", "."):
        with pytest.raises(EngineError) as caught:
            read_profile(str(tmp_path / name))
        assert str(tmp_path.parent) not in str(caught.value)[70:]
    with pytest.raises(
        UnknownKeyError, match="Choose laptop, mini, small, paper, or a YAML file of your own"
    ):
        read_profile("huge")


def test_another_process_can_take_the_profile_in_use_wherever_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path may be told from this folder."""
    (tmp_path / "llama").mkdir()
    monkeypatch.chdir(tmp_path)
    named = read_profile(written(Path(), TRIO + "dtype: float32\nfolders: {llama-3.2-1b-instruct: llama}\n"))
    use_profile(named)
    sent = profile_in_use()
    assert sent == replace(named, folders={"llama-3.2-1b-instruct": tmp_path / "llama"}) != named
    assert pickle.loads(pickle.dumps(sent)) == sent


@pytest.mark.parametrize("place", ["gone", "llama.txt"])
def test_a_folder_that_does_not_exist_leaves_the_profile_as_it_was(tmp_path: Path, place: str) -> None:
    (tmp_path / "llama.txt").write_text("", encoding="utf-8")
    found = read_profile(written(tmp_path, TRIO + f"folders: {{llama-3.2-1b-instruct: {place}}}"))
    with pytest.raises(ModelFilesError, match=r"folder for llama-3\.2-1b-instruct does not exist"):
        use_profile(found)
    assert profile_in_use() is PROFILES["mini"]


def test_a_profile_says_for_each_system_what_it_lacks_and_each_folder_counts_once(tmp_path: Path) -> None:
    paper = preparation(PROFILES["paper"], models=tmp_path)
    assert len(paper.folders) == len(set(paper.folders)) and paper.n_ready == 0
    assert paper.gb == pytest.approx(size_gb(paper.folders)) and 80 < paper.gb < 130
    assert set(paper.folders) == {f for key in PROFILES["paper"].systems for f in SYSTEMS[key].folders}
    lines = dict(zip(PROFILES["paper"].systems, paper.lines, strict=True))
    assert len(paper.lines) == 9 and all(" cannot run yet: " in line for line in paper.lines)
    assert lines["gemini"] == (
        "Gemini cannot run yet: set GEMINI_MODEL and GOOGLE_API_KEY or GEMINI_API_KEY in the environment."
    )
    assert lines["qwen2-audio-7b-instruct"] == (
        "Qwen2-Audio-7B-Instruct cannot run yet: weights are missing: qwen2-audio-7b-instruct (16.8 GB to fetch)."
    )


def test_why_a_folder_could_not_be_fetched_goes_in_its_systems_sentences(tmp_path: Path) -> None:
    failures = {"llama-3.2-1b-instruct": "It is gated: accept its licence."}
    found = preparation(PROFILES["small"], failures, tmp_path)
    assert len(found.lines) == 3
    assert all(line.endswith("cannot run yet: It is gated: accept its licence.") for line in found.lines)


def test_with_its_folders_named_everything_is_ready(published_models: Path, tmp_path: Path) -> None:
    places = "".join(
        f"  {name}: {published_models / name}\n" for name in CHECKPOINTS if (published_models / name).exists()
    )
    use_profile(read_profile(written(tmp_path, TRIO + "folders:\n" + places)))
    found = preparation(profile_in_use(), models=tmp_path)
    assert (found.folders, found.gb, found.n_ready) == ((), 0, 3)
    assert found.lines[0] == "Ultravox v0.5 1B is ready."
    assert missing_weights([n for n in CHECKPOINTS if (published_models / n).exists()], tmp_path) == ()


def test_the_profiles_pairs_are_offered_first_and_only_those_that_can_run(published_models: Path) -> None:
    ready = list(ready_pairs(published_models))
    assert "gemini" not in ready and "ultravox-v0.5-1b" in ready
    use_profile(PROFILES["small"])
    assert next(iter(offered_pairs(published_models))) == "ultravox-v0.5-1b"
    assert sorted(offered_pairs(published_models)) == sorted(ready)
    assert list(offered_pairs()) == list(MINI_PAIRS), "the page works on what ships"


@pytest.mark.parametrize(
    ("rate", "first"),
    [
        (None, "bridge-smollm2"),
        ("", "bridge-smollm2"),
        ("0.31", "bridge-smollm2"),
        ("0.30", "ultravox-smollm2"),
        ("0.12", "ultravox-smollm2"),
    ],
)
def test_the_laptop_opens_on_the_real_test_only_where_it_hears_people(
    rate: str | None, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its table of human errors decides; without one, or with a damaged one, the positive control stands first."""
    monkeypatch.setattr(profiles, "ready_pairs", lambda models: dict(LAPTOP_PAIRS))
    if rate is not None:
        folder = tmp_path / "ultravox-smollm2"
        folder.mkdir()
        rows = ("wer,vctk,corpus,vctk,0.05", "exact,all,all,all,0.01", f"wer,all,all,all,{rate}")
        lines = [f"ultravox-smollm2,{row},,,9,3" for row in rows]
        head = "system,measure,corpus,slice_kind,slice,value,low,high,n_clips,n_speakers"
        (folder / "human.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    use_profile(PROFILES["laptop"])
    offered = list(offered_pairs(tmp_path))
    assert offered[0] == first and sorted(offered) == sorted(LAPTOP_PAIRS)
    assert "ultravox-smollm2" in offered[:2]
