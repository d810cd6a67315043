"""Normalisations: over several workers, and of constant features."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

from pipeline.networks.normalise import InstanceNorm, SynchronisedBatchNorm2d, learned_norm


def test_synchronised_batch_norm_with_scale_and_shift_is_that_of_the_joined_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two workers that see the same: what is exchanged of the other is a worker's own."""

    def exchange(values: torch.Tensor) -> None:
        if values.shape == (2, 2 * 3 + 1):  # a row for each worker
            values[1] = values[0]
        else:
            values *= 2

    torch.manual_seed(0)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr("pipeline.networks.normalise.all_reduce", exchange)
    ours, theirs = learned_norm(3, "sync_batch").double(), nn.BatchNorm2d(3).double()
    assert isinstance(ours, SynchronisedBatchNorm2d)
    with torch.no_grad():
        ours.weight.copy_(torch.tensor([0.5, 1.0, -2.0]))
        ours.bias.copy_(torch.tensor([1.0, 0.0, 3.0]))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    output, expected = ours(x), theirs(torch.cat([x, x]))
    torch.testing.assert_close(output, expected[:2])
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    output.square().sum().backward()
    expected[:2].square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_instance_norm_of_constant_features_is_exactly_nothing() -> None:
    x = torch.full((2, 3, 7, 9), 0.1) * torch.tensor([1.0, 3.0, -7e3]).view(1, 3, 1, 1)
    assert (InstanceNorm()(x) == 0).all()
    torch.manual_seed(0)
    x = torch.randn(2, 3, 7, 9) + 5
    torch.testing.assert_close(InstanceNorm()(x), nn.InstanceNorm2d(3)(x), atol=1e-5, rtol=0)
    assert list(learned_norm(3, "instance").parameters()) == []
    assert len(list(learned_norm(3, "batch").parameters())) == 2
