"""Draws are those of SplitMix64, and depend on the record's seed and the purpose alone."""

from __future__ import annotations

import math

import torch

from pipeline.runtime.counter_based import GAMMA, _bits, _mix, derived_seeds, normals, uniforms


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


def test_normals_are_box_and_mullers_of_both_halves_of_a_hash() -> None:
    seeds = torch.tensor([5, 2**62 + 1])
    drawn = normals(seeds, "test", 5)
    assert drawn.shape == (2, 5) and drawn.dtype == torch.float32
    for row, bits in zip(drawn.tolist(), _bits(seeds, "test", 3).tolist(), strict=True):
        halves = [divmod(value % 2**64, 2**32) for value in bits]
        radii = [math.sqrt(-2 * math.log((high + 0.5) / 2**32)) for high, _ in halves]
        angles = [2 * math.pi * low / 2**32 for _, low in halves]
        pairs = list(zip(radii, angles, strict=True))
        expected = [radius * math.cos(angle) for radius, angle in pairs]
        expected += [radius * math.sin(angle) for radius, angle in pairs]
        torch.testing.assert_close(torch.tensor(row), torch.tensor(expected[:5]), atol=1e-6, rtol=1e-6)


def test_normals_are_normal() -> None:
    drawn = normals(torch.arange(20), "test", 10000)
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.var() - 1) < 0.01
    assert abs(drawn.pow(3).mean()) < 0.03
    assert abs(drawn.pow(4).mean() - 3) < 0.06
    assert torch.equal(normals(torch.tensor([7]), "test", 10000), drawn[7:8])


def test_derived_seeds_differ_by_purpose() -> None:
    seeds = torch.arange(100)
    assert len(torch.cat([seeds, derived_seeds(seeds, "one"), derived_seeds(seeds, "two")]).unique()) == 300
