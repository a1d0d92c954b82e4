"""A template: a Whisper encoder, a linear map and a text LLM. Copy it to engine/systems/NAME.py and change it."""
# ruff: noqa: D101, D102

import hashlib
import time

import torch
from torch import nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.audio import SAMPLE_RATE_HZ
from engine.systems.base import Heard
from engine.systems.checkpoint import fingerprint
from engine.systems.text_llm import make_ears, read_ears_beside


class Ears(nn.Module):
    def __init__(self, config, d_text):
        super().__init__()
        self.audio_tower = WhisperEncoder(config)  # by the names of the checkpoint's tensors
        self.projector = nn.Linear(config.d_model, d_text)


class TemplateModel:
    frames_per_position = 1  # encoder states of 20 ms in one audio position
    seconds_per_position = 0.02

    def __init__(self, spec, folder, backbone):  # as the registry calls it; backbone is a TextLLM
        self.spec, self._backbone = spec, backbone
        self._features = WhisperFeatureExtractor.from_pretrained(folder)
        config, width = WhisperConfig.from_pretrained(folder), backbone.embedding.weight.shape[1]
        # Strictly: what does not fit is named.
        self.ears = make_ears(lambda: Ears(config, width), read_ears_beside(folder), backbone, spec.name)
        self.tokenizer, self.language_model = backbone.tokenizer, backbone.language_model
        self.decoder_layers, self.final_norm = backbone.decoder_layers, backbone.final_norm
        self.unembedding = backbone.unembedding
        weights = fingerprint([folder]) + backbone.fingerprint
        self.fingerprint = hashlib.sha256(weights.encode()).hexdigest()

    @torch.inference_mode()
    def hear(self, clip):
        started, window = time.perf_counter(), self._features.n_samples
        starts = range(0, max(1, len(clip.samples)), window)
        states = torch.cat([self.frames(clip.samples[start : start + window]) for start in starts])
        seconds = time.perf_counter() - started
        return Heard(self.ears.projector(states), self.seconds_per_position, "", (), seconds)

    def prepare(self, heard, instruction):
        return self._backbone.prepare(heard, instruction)  # or with the model's own marks: template=...

    @torch.inference_mode()
    def frames(self, samples):
        mel, n_frames = self.features(samples)
        return self.ears.audio_tower(mel[None]).last_hidden_state[0, : -(-n_frames // 2)]

    def features(self, samples):
        found = self._features(samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        return found.input_features[0].to(self.ears.projector.weight), max(1, -(-len(samples) // 160))
