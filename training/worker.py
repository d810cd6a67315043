"""One process among those that train together, and what it says to the others."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.runtime.collectives import all_reduce, average_gradients


@dataclass(frozen=True)
class Worker:
    """This process among those that train together; more than one need an initialised `torch.distributed`."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wrap(self, network: nn.Module, *, in_parts: bool = False) -> nn.Module:
        """For gradients averaged over the workers. Buffers need no broadcasts: they are the same functions of the
        same weights and, synchronised, of the same statistics. `in_parts`: some steps use only a part of it."""
        if self.count == 1:
            return network
        # Before torch 2.14 the option had another name.
        names = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        options: dict[str, Any] = {"gradient_as_bucket_view": True, "find_unused_parameters": in_parts, buffers: False}
        wrapped = DistributedDataParallel(network, **options)
        if self.device.type == "cpu":
            wrapped.register_comm_hook(self.count, average_gradients)
        return wrapped

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the workers, of the shape of `values`, `[...]`; all of them must ask at the same step."""
        if self.count > 1:
            all_reduce(values)
            values /= self.count
        return values

    def agree(self, flag: bool) -> bool:
        """Whether any worker says so; all of them must ask at the same step."""
        if self.count == 1:
            return flag
        flags = torch.tensor(float(flag), device=self.device)
        all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)
