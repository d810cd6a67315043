"""The published weights trail behind the trained ones by a known law."""

from __future__ import annotations

import torch
from torch import nn

from training.ema import MovingAverage


def test_the_average_forgets_the_initial_weights_early_and_keeps_its_decay_later() -> None:
    """Weights 0 at first, then 1: after step t the distance to 1 is the product of min(decay, (1 + t) / (10 + t))."""
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.zero_()
    average = MovingAverage(network, decay=0.3)
    with torch.no_grad():
        network.weight.fill_(1)
    expected = 1.0
    for step, decay in enumerate([1 / 10, 2 / 11, 3 / 12, 0.3, 0.3]):  # 4 / 13 is more than the decay
        average.update(network, step)
        expected *= decay
        torch.testing.assert_close(1 - average.network.weight.detach(), torch.tensor([[expected]]))


def test_running_statistics_are_averaged_and_other_buffers_copied() -> None:
    network = nn.BatchNorm1d(1)
    average = MovingAverage(network, decay=0.9)
    network.running_mean.fill_(10)
    network.num_batches_tracked.fill_(7)
    average.update(network, step=0)  # decay 1 / 10
    assert average.network.running_mean.item() == 9
    assert average.network.num_batches_tracked.item() == 7
