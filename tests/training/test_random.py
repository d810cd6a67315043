"""Draws are those of SplitMix64, and depend on the record's seed and the purpose alone."""

from __future__ import annotations

import torch

from training.random import GAMMA, _mix, uniforms


def test_the_generator_is_split_mix_64() -> None:
    """The first numbers for seed 1234567, as published with the public-domain C code's implementations."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    state = 1234567 + torch.arange(1, 5) * GAMMA
    assert [value % 2**64 for value in _mix(state).tolist()] == expected


def test_draws_are_uniform_and_belong_to_the_seed() -> None:
    seeds = torch.arange(2000) * 3 - 1000
    drawn = uniforms(seeds, "test", 5)
    assert drawn.shape == (2000, 5) and drawn.dtype == torch.float32
    assert drawn.min() >= 0 and drawn.max() < 1
    assert (drawn.mean(0) - 0.5).abs().max() < 0.03
    assert (drawn.var(0) - 1 / 12).abs().max() < 0.005
    assert torch.corrcoef(torch.cat([drawn, uniforms(seeds, "other", 5)], dim=1).t()).triu(1).abs().max() < 0.1
    assert torch.equal(uniforms(seeds[700:], "test", 3), drawn[700:, :3])  # whatever the batch, and however many
