"""Greedy answers and scores against Hugging Face's own `generate` and against passes without a cache.

States of one pass: those of a recorded answer, row by row, and edits take effect from their layer on.
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.erasure import random_subspace
from engine.generate import Pass, all_layers, encode_answer, read_states, run_arms, run_blocks, run_prompts
from engine.hooks import Projection, RowEdits, Scope, editing
from engine.interventions import Replacement
from engine.systems.base import Prepared, end_ids
from engine.systems.ultravox import Ultravox

LABELS = ("positive", "negative", "World", "the queen scored three goals")
N_NEW = 8


def projection(seed: int, rank: int = 6) -> Projection:
    basis = random_subspace(32, rank, seed)
    return Projection(basis, basis.T)


def edits_for(prepared: Prepared, rows: list[dict | None], scope: Scope = "all") -> RowEdits:
    return RowEdits(rows, prepared.span, prepared.embeddings.shape[1], scope)


ROWS = [None, {0: projection(1), 2: projection(2)}, {1: projection(3)}]


def embedding_of(system: Ultravox) -> nn.Module:
    model: Any = system.language_model
    embedding: nn.Module = model.get_input_embeddings()
    return embedding


def ending_with(system: Ultravox, token: int) -> Ultravox:
    """The same system with another token as its end of turn."""
    other = copy.copy(system)
    other.tokenizer = copy.deepcopy(system.tokenizer)
    other.tokenizer.eos_token = system.tokenizer.convert_ids_to_tokens(token)
    return other


@torch.inference_mode()
def log_probabilities_without_cache(system: Ultravox, prepared: Prepared, answer: list[int]) -> list[float]:
    """Slow reference: the whole sequence anew for every token."""
    embed = embedding_of(system)
    scores = []
    for index, token in enumerate(answer):
        before = embed(torch.tensor([answer[:index]], dtype=torch.long))
        logits = system.language_model(inputs_embeds=torch.cat([prepared.embeddings, before], 1)).logits
        scores.append(float(logits[0, -1].float().log_softmax(-1)[token]))
    return scores


def test_the_answer_is_what_generate_gives(ultravox: Ultravox, prepared: Prepared) -> None:
    found = run_arms(ultravox, prepared, max_new_tokens=N_NEW).decoded[0]
    attention = torch.ones(prepared.embeddings.shape[:2], dtype=torch.long)
    settings = {"max_new_tokens": N_NEW, "do_sample": False, "pad_token_id": 0}
    model: Any = ultravox.language_model
    expected = model.generate(inputs_embeds=prepared.embeddings, attention_mask=attention, **settings)
    assert list(found.token_ids) == expected[0].tolist() and len(set(found.token_ids)) > 3
    assert found.text == str(ultravox.tokenizer.decode(expected[0], skip_special_tokens=True)).strip()


def test_the_answer_stops_before_the_end_token_which_counts_in_the_likelihood(
    ultravox: Ultravox, prepared: Prepared
) -> None:
    full = run_arms(ultravox, prepared, max_new_tokens=N_NEW).decoded[0].token_ids
    cut = next(i for i in range(2, N_NEW) if full[i] not in full[:i])
    ended = run_arms(ending_with(ultravox, full[cut]), prepared, max_new_tokens=N_NEW)
    assert ended.decoded[0].token_ids == full[:cut]
    reference = log_probabilities_without_cache(ultravox, prepared, list(full[: cut + 1]))
    assert ended.decoded[0].log_likelihood == pytest.approx(sum(reference), abs=1e-3)
    assert ended.first_answer_scores[0] == pytest.approx(sum(reference), abs=1e-3)


@pytest.mark.parametrize("which", [2, 3])
def test_an_answer_stops_at_any_end_token_of_the_models_settings(
    ultravox: Ultravox, prepared: Prepared, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """Llama-3.1-Instruct names three; the first that comes ends the answer, and none is in its text."""
    full = run_arms(ultravox, prepared, max_new_tokens=N_NEW).decoded[0].token_ids
    end = next(token for token in full[which:] if token not in full[:which])
    settings: Any = ultravox.language_model.generation_config
    monkeypatch.setattr(settings, "eos_token_id", [ultravox.tokenizer.eos_token_id, 1, end])
    assert end_ids(ultravox) == tuple(dict.fromkeys((ultravox.tokenizer.eos_token_id, 1, end)))
    passed = run_arms(ultravox, prepared, continuations=[""], max_new_tokens=N_NEW)
    found = passed.decoded[0]
    assert found.token_ids == full[: full.index(end)] and found.end_id == end
    assert found.text == str(ultravox.tokenizer.decode(found.token_ids)).strip()
    reference = log_probabilities_without_cache(ultravox, prepared, [*found.token_ids, end])
    assert found.log_likelihood == pytest.approx(sum(reference), abs=1e-3)
    assert passed.first_answer_scores[0] == pytest.approx(found.log_likelihood, abs=1e-3)
    turn = passed.prompt_logits[0].log_softmax(-1)[ultravox.tokenizer.eos_token_id]
    assert float(passed.continuation_scores[0, 0]) == pytest.approx(float(turn), abs=1e-5)
    (reply,) = run_prompts(ultravox, [prepared], continuations=[()], max_new_tokens=N_NEW)
    assert reply.decoded.token_ids == found.token_ids and reply.decoded.end_id == end


def test_an_answer_that_is_cut_has_no_end(ultravox: Ultravox, prepared: Prepared) -> None:
    assert run_arms(ultravox, prepared, max_new_tokens=1).decoded[0].end_id is None


def test_an_answer_that_ends_at_once_is_empty(ultravox: Ultravox, prepared: Prepared) -> None:
    first = run_arms(ultravox, prepared, max_new_tokens=1).decoded[0].token_ids[0]
    ended = run_arms(ending_with(ultravox, first), prepared).decoded[0]
    assert ended.token_ids == () and ended.text == "" and ended.log_likelihood < 0


def test_a_row_that_has_ended_does_not_disturb_the_others(ultravox: Ultravox, prepared: Prepared) -> None:
    rows = [None, ROWS[1]]
    plain, other = run_arms(ultravox, prepared, edits=edits_for(prepared, rows), max_new_tokens=N_NEW).decoded
    token = next(t for t in plain.token_ids if t not in other.token_ids)
    system = ending_with(ultravox, token)
    ended = run_arms(system, prepared, edits=edits_for(prepared, rows), max_new_tokens=N_NEW).decoded
    assert len(ended[0].token_ids) < N_NEW and ended[1].token_ids == other.token_ids


def test_continuations_score_as_teacher_forced_without_cache(ultravox: Ultravox, prepared: Prepared) -> None:
    found = run_arms(ultravox, prepared, continuations=LABELS, max_new_tokens=1).continuation_scores
    lengths = {len(encode_answer(ultravox, label)) for label in LABELS}
    assert found.shape == (1, len(LABELS)) and len(lengths) > 1, "padding is not exercised"
    for score, label in zip(found[0], LABELS, strict=True):
        reference = log_probabilities_without_cache(ultravox, prepared, encode_answer(ultravox, label))
        assert float(score) == pytest.approx(sum(reference), abs=1e-3)


def test_an_empty_continuation_scores_the_end_alone(ultravox: Ultravox, prepared: Prepared) -> None:
    found = run_arms(ultravox, prepared, continuations=("",), max_new_tokens=1)
    end = found.prompt_logits[0].log_softmax(-1)[ultravox.tokenizer.eos_token_id]
    assert float(found.continuation_scores[0, 0]) == pytest.approx(float(end), abs=1e-5)


def test_scoring_leaves_the_answer_as_it_is(ultravox: Ultravox, prepared: Prepared) -> None:
    alone = run_arms(ultravox, prepared, max_new_tokens=N_NEW)
    scored = run_arms(ultravox, prepared, continuations=LABELS, max_new_tokens=N_NEW)
    assert scored.decoded[0] == alone.decoded[0]


@torch.inference_mode()
def test_edited_rows_with_cache_equal_edits_of_the_whole_sequence(
    ultravox: Ultravox, prepared: Prepared
) -> None:
    """Scope all: generated positions are edited as they come, and the cache must hold the edited past."""
    row = ROWS[1]
    decoded = run_arms(
        ultravox, prepared, edits=edits_for(prepared, [None, row]), max_new_tokens=N_NEW
    ).decoded[1]
    embed = embedding_of(ultravox)
    sequence: Tensor = prepared.embeddings
    likelihood, ids = 0.0, []
    for _ in range(N_NEW):
        with editing(ultravox.decoder_layers, edits_for(prepared, [row])):
            logits = ultravox.language_model(inputs_embeds=sequence).logits[0, -1].float()
        ids.append(int(logits.argmax()))
        likelihood += float(logits.log_softmax(-1).max())
        sequence = torch.cat([sequence, embed(torch.tensor([[ids[-1]]]))], 1)
    assert tuple(ids) == decoded.token_ids
    assert decoded.log_likelihood == pytest.approx(likelihood, abs=1e-3)


def same(a: Pass, row: int, b: Pass, other: int) -> None:
    assert a.decoded[row].token_ids == b.decoded[other].token_ids
    torch.testing.assert_close(a.continuation_scores[row], b.continuation_scores[other], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(a.prompt_logits[row], b.prompt_logits[other], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(a.states[2][row], b.states[2][other], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("scope", ["audio", "prompt", "all"])
def test_each_arm_of_a_batch_equals_its_run_alone(
    ultravox: Ultravox, prepared: Prepared, scope: Scope
) -> None:
    settings: dict[str, Any] = {"continuations": LABELS, "record_layers": [2], "max_new_tokens": N_NEW}
    edits = edits_for(prepared, ROWS, scope)
    batch = run_arms(ultravox, prepared, edits=edits, **settings)
    for index, row in enumerate(ROWS):
        alone = edits_for(prepared, [row], scope)
        same(batch, index, run_arms(ultravox, prepared, edits=alone, **settings), 0)
        assert edits.relative_change(index) == pytest.approx(alone.relative_change(0), rel=1e-4)
    same(batch, 0, run_arms(ultravox, prepared, **settings), 0)
    assert batch.decoded[1].log_likelihood != batch.decoded[0].log_likelihood


def test_arms_one_after_another_equal_the_batch(ultravox: Ultravox, prepared: Prepared) -> None:
    settings: dict[str, Any] = {"continuations": LABELS, "record_layers": [2], "max_new_tokens": N_NEW}
    together, apart = edits_for(prepared, ROWS), edits_for(prepared, ROWS)
    batch = run_arms(ultravox, prepared, edits=together, **settings)
    singles = run_arms(ultravox, prepared, edits=apart, batched=False, **settings)
    for row in range(len(ROWS)):
        same(batch, row, singles, row)
        assert apart.relative_change(row) == pytest.approx(together.relative_change(row), rel=1e-4)
    assert singles.first_answer_scores == pytest.approx(batch.first_answer_scores, abs=1e-3)


def test_row_zeros_own_answer_is_scored_in_every_row(ultravox: Ultravox, prepared: Prepared) -> None:
    passed = run_arms(ultravox, prepared, edits=edits_for(prepared, ROWS), max_new_tokens=4)
    ids = [*passed.decoded[0].token_ids, int(ultravox.tokenizer.eos_token_id)]
    reference = log_probabilities_without_cache(ultravox, prepared, ids)
    assert passed.first_answer_scores[0] == pytest.approx(sum(reference), abs=1e-3)
    for row in (1, 2):
        with editing(ultravox.decoder_layers, edits_for(prepared, [ROWS[row]])):
            edited = log_probabilities_without_cache(ultravox, prepared, ids)
        assert passed.first_answer_scores[row] == pytest.approx(sum(edited), abs=1e-3)


def test_runs_in_two_threads_do_not_share_edits(ultravox: Ultravox, prepared: Prepared) -> None:
    """Hooks sit on the shared modules; a run must never be edited or recorded by another's."""

    def answer(row: dict | None) -> tuple[tuple[int, ...], list[float]]:
        edits = edits_for(prepared, [row])
        passed = run_arms(ultravox, prepared, edits=edits, continuations=LABELS, max_new_tokens=N_NEW)
        return passed.decoded[0].token_ids, passed.continuation_scores[0].tolist()

    expected = [answer(row) for row in ROWS]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(answer, ROWS * 4))
    for (ids, scores), (ids_alone, scores_alone) in zip(found, expected * 4, strict=True):
        assert ids == ids_alone and scores == pytest.approx(scores_alone, abs=1e-3)


def test_states_are_those_of_an_answers_prompt(ultravox: Ultravox, prepared: Prepared) -> None:
    (found,) = read_states(ultravox, prepared)
    passed = run_arms(ultravox, prepared, record_layers=all_layers(ultravox), max_new_tokens=1)
    assert sorted(found) == list(all_layers(ultravox))
    for layer, states in found.items():
        torch.testing.assert_close(states, passed.states[layer][0])


def test_an_edit_changes_what_follows_it_and_nothing_before(ultravox: Ultravox, prepared: Prepared) -> None:
    start, _ = prepared.span
    new = Replacement(torch.ones(1, prepared.embeddings.shape[-1]))
    edits = RowEdits([None, {2: new}], (start, start + 1), prepared.embeddings.shape[1], "audio")
    plain, edited = read_states(ultravox, prepared, edits)
    for layer in (0, 1):
        torch.testing.assert_close(edited[layer], plain[layer])
    assert (edited[2][start] == 1).all()
    torch.testing.assert_close(edited[2][start + 1 :], plain[2][start + 1 :])
    assert not torch.allclose(edited[3][start + 1 :], plain[3][start + 1 :])
    torch.testing.assert_close(edited[3][:start], plain[3][:start])
    (alone,) = read_states(ultravox, prepared)
    # Nothing of the edit stays on the model.
    torch.testing.assert_close(alone[3], plain[3])


def test_blocks_above_what_is_wanted_do_not_run(ultravox: Ultravox, prepared: Prepared) -> None:
    """Erasers are fitted layer upon layer: each pass went on to the head, and all of it was thrown away."""
    ran: list[int] = []
    modules = [*ultravox.decoder_layers, ultravox.unembedding]
    handles = [
        module.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, module in enumerate(modules)
    ]
    new = Replacement(torch.ones(1, prepared.embeddings.shape[-1]))
    start, n_prompt = prepared.span[0], prepared.embeddings.shape[1]
    edits = RowEdits([None, {1: new}], (start, start + 1), n_prompt, "audio")
    above = RowEdits([None, {3: new}], (start, start + 1), n_prompt, "audio")
    try:
        found = read_states(ultravox, prepared, edits, [2])
        assert ran == [0, 1]
        read_states(ultravox, prepared, above, [2])
        assert 2 in ran[2:]
    finally:
        for handle in handles:
            handle.remove()
    whole = read_states(ultravox, prepared, edits)
    for few, every in zip(found, whole, strict=True):
        assert set(few) == {2} and torch.equal(few[2], every[2])


def test_blocks_run_from_a_layer_as_they_do_from_the_bottom(ultravox: Ultravox, prepared: Prepared) -> None:
    """Erasers are fitted layer upon layer: each layer's pass ran all the blocks below it again."""
    new = Replacement(torch.ones(1, prepared.embeddings.shape[-1]))
    start, n_prompt = prepared.span[0], prepared.embeddings.shape[1]
    edits = RowEdits([None, {1: new}], (start, start + 1), n_prompt, "audio")
    whole = read_states(ultravox, prepared, edits)
    carried = run_blocks(ultravox, torch.stack([states[1] for states in whole]), 1, 3)
    torch.testing.assert_close(carried, torch.stack([states[3] for states in whole]))
    (alone,) = read_states(ultravox, prepared)
    torch.testing.assert_close(alone[3], whole[0][3])  # the model has all its blocks again
