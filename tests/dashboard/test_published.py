"""The published figures as shipped: cells typed over by hand, declared columns, doubtful cells marked."""

from __future__ import annotations

import pytest

from dashboard.published import published, published_as_declared
from engine.columns import ARMS, PROBE_TARGETS, TABLES


@pytest.mark.parametrize("name", ["erasure", "probes", "lens", "sufficiency"])
def test_published_mechanism_has_the_declared_columns_and_what_bears_on_them(name: str) -> None:
    declared = [column.name for column in TABLES[name]]
    extra = {"status", "paper", "place", "frame", "doubt"} | ({"concept_dim"} if name == "erasure" else set())
    rows = published_as_declared(name)
    assert list(rows.columns)[: len(declared)] == declared
    assert set(rows.columns) == set(declared) | extra
    assert (rows["status"] == "stated").all() and (rows["frame"] != "").all()


def test_a_few_cells_of_table_7() -> None:
    rows = published("erasure").set_index(["system", "task", "condition", "arm"])["accuracy"]
    assert len(rows) == 2 * 6 * 5
    assert rows["ultravox", "ag_news", "none", "plain"] == 0.829
    assert rows["ultravox", "sst2", "ctc", "erased"] == 0.638
    assert rows["qwen2_audio", "mustard", "ctc", "erased"] == 0.041
    assert rows["qwen2_audio", "meld", "acoustic", "erased"] == 0.255
    assert rows["ultravox", "csqa", "text", "erased"] == 0.001


def test_the_papers_one_random_control_is_rank_matched_to_text_only() -> None:
    rows = published("erasure")
    control = rows[rows["arm"] == "rank_matched"]
    assert set(rows["arm"]) <= set(ARMS) and len(control) == 2 * 5
    assert set(control["condition"]) == {"text"} and set(control["concept_dim"]) == {159}
    text = rows[(rows["condition"] == "text") & (rows["arm"] == "erased")]
    assert set(text["concept_dim"]) == {159}
    edited = rows[rows["arm"] != "plain"]
    assert set(zip(edited["method"], edited["scope"], edited["layers"], strict=True)) == {
        ("linear", "all", "nine layers")
    }


def test_a_few_cells_of_tables_4_5_and_6() -> None:
    probes = published("probes").set_index(["system", "layer", "target"])
    assert len(probes) == 3 * 5 * 4 and set(probes.index.get_level_values("target")) < set(PROBE_TARGETS)
    assert probes.loc[("whisper", 8, "pitch"), ["score", "unit"]].tolist() == [0.78, "R2"]
    assert probes.loc[("qwen2_audio", 16, "text"), ["score", "unit"]].tolist() == [0.51, "1 - CER"]
    assert probes.loc[("ultravox", 31, "letters"), "score"] == 0.12
    lens = published("lens").set_index(["system", "layer"])["score"]
    assert (lens["ultravox", 31], lens["qwen2_audio", 28], len(lens)) == (0.342, 0.226, 18)
    implicit = published("sufficiency").set_index("task")
    assert set(implicit["layer"]) == {31} and set(implicit["system"]) == {"ultravox"}
    named = ["kappa", "kappa_cascade", "accuracy", "speech_accuracy"]
    assert implicit.loc["ag_news", named].tolist() == [0.943, 0.933, 0.881, 0.867]
    assert implicit.loc["meld", named].tolist() == [0.154, 0.556, 0.224, 0.421]


def test_doubtful_cells_stay_marked() -> None:
    erasure, probes, lens = (published(name) for name in ("erasure", "probes", "lens"))
    below_chance = erasure[(erasure["condition"] == "text") & (erasure["arm"] == "erased")]
    assert below_chance["doubt"].str.contains("not readable").all()
    zero = probes[(probes["system"] == "ultravox") & (probes["layer"] == 8) & (probes["target"] == "text")]
    assert "cut off" in zero["doubt"].item()
    assert lens.loc[lens["system"] == "qwen2_audio", "doubt"].str.contains("not like for like").all()
    assert (lens.loc[(lens["system"] == "ultravox") & (lens["layer"] < 31), "doubt"] == "").all()
    assert (published("sufficiency")["doubt"] != "").all()
