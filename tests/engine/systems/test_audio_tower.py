"""The encoder as Ultravox uses it, against transformers' own forward and against itself unpadded."""

from __future__ import annotations

import pytest
import torch
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.systems.ultravox import Ultravox
from engine.systems.whisper import encode_mel

WINDOW_FRAMES = 200


@pytest.fixture(scope="module")
def encoder(ultravox: Ultravox) -> WhisperEncoder:
    return ultravox.ears.audio_tower


def mel(n_frames: int, seed: int = 0, clips: int = 1) -> torch.Tensor:
    return torch.randn(clips, 80, n_frames, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_a_full_window_equals_transformers_own_forward(encoder: WhisperEncoder) -> None:
    full = mel(WINDOW_FRAMES, clips=2)
    expected = encoder(full).last_hidden_state
    torch.testing.assert_close(encode_mel(encoder, full), expected, atol=1e-5, rtol=1e-4)
    lengths = torch.tensor([WINDOW_FRAMES, WINDOW_FRAMES])
    torch.testing.assert_close(encode_mel(encoder, full, lengths), expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("n_frames", [2, 51, 124, 199])
def test_two_frames_make_one_position(encoder: WhisperEncoder, n_frames: int) -> None:
    assert encode_mel(encoder, mel(n_frames)).shape == (1, (n_frames - 1) // 2 + 1, 16)


@torch.inference_mode()
@pytest.mark.parametrize("n_frames", [50, 124])
def test_padding_is_hidden_from_the_clip(encoder: WhisperEncoder, n_frames: int) -> None:
    clip = mel(n_frames)
    padded = torch.nn.functional.pad(clip, (0, WINDOW_FRAMES - n_frames))
    n_valid = (n_frames - 1) // 2 + 1
    alone = encode_mel(encoder, clip)
    masked = encode_mel(encoder, padded, torch.tensor([n_frames]))[:, :n_valid]
    torch.testing.assert_close(masked, alone, atol=1e-5, rtol=1e-4)
    open_to_padding = encode_mel(encoder, padded)[:, :n_valid]
    assert (open_to_padding - alone).abs().max() > 1e-3, "without a mask the padding is heard"


@torch.inference_mode()
def test_more_than_a_window_is_an_error(encoder: WhisperEncoder) -> None:
    with pytest.raises(ValueError, match="202 mel frames exceed the window of 200"):
        encode_mel(encoder, mel(WINDOW_FRAMES + 2))


@torch.inference_mode()
def test_a_block_hears_itself_and_what_came_before(encoder: WhisperEncoder) -> None:
    """Blocks of 25 states are 50 mel frames; conv2 looks one frame ahead, so the change stays clear of the edge."""
    clip = mel(WINDOW_FRAMES)
    later = clip.clone()
    later[..., 104:] += 1.0
    found, changed = (encode_mel(encoder, one, block=25)[0] for one in (clip, later))
    assert torch.equal(found[:50], changed[:50])
    open_to_all = encode_mel(encoder, later)[0]
    assert (encode_mel(encoder, clip)[0, :50] - open_to_all[:50]).abs().max() > 1e-3
    whole = encode_mel(encoder, clip, block=WINDOW_FRAMES)[0]
    torch.testing.assert_close(whole, encode_mel(encoder, clip)[0], atol=1e-5, rtol=1e-4)
