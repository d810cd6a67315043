"""CUDA graphs around a compiled function: its hundreds of kernels start with one call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch

KEPT = 8
"""Graphs; each holds its own inputs and output."""


class GraphedFunction:
    """A function of tensors, recorded once for each combination of shapes and replayed from then on."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self._function = function
        self._graphs: OrderedDict[
            tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, list[torch.Tensor], torch.Tensor]
        ] = OrderedDict()

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The function's value, of the shape that it has: as `function(*inputs)`, in memory of its own."""
        shapes = tuple(tensor.shape for tensor in inputs)
        if shapes not in self._graphs:
            self._graphs[shapes] = self._record(inputs)
            if len(self._graphs) > KEPT:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(shapes)
        graph, places, output = self._graphs[shapes]
        for place, tensor in zip(places, inputs, strict=True):
            place.copy_(tensor)
        graph.replay()
        return output.clone()

    def _record(
        self, inputs: tuple[torch.Tensor, ...]
    ) -> tuple[torch.cuda.CUDAGraph, list[torch.Tensor], torch.Tensor]:
        places = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # What is allocated and tuned on the first call must not be recorded.
            for _ in range(2):
                self._function(*places)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads decode label maps on the GPU meanwhile; only what this one does belongs into the graph.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = self._function(*places)
        return graph, places, output
