"""The image pool (Shrivastava et al., CVPR 2017, Sec. 2.3): the discriminator also sees fakes of earlier steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Up to `size` fakes, each with its label map: what it holds are buffers, which checkpoints keep."""

    codes: Tensor
    pictures: Tensor
    count: Tensor

    def __init__(self, size: int, *, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, height, width, dtype=torch.int32))
        self.register_buffer("pictures", torch.zeros(size, 3, height, width))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, codes: Tensor, pictures: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """What the discriminator gets to see in the place of fakes `[N, 3, H, W]` of codes int32 `[N, H, W]`.

        Until the pool is full each is kept, and returned. From then on half of them are exchanged for a random one that
        the pool holds. `draws` `[N, 2]`, uniform in [0, 1): above a half exchanges; and which one it is. A pool of size
        0 returns what it is given.
        """
        size = len(self.codes)
        if size == 0:
            return codes, pictures
        codes, pictures = codes.clone(), pictures.clone()
        for index, (exchanges, place) in enumerate(draws.tolist()):
            held = int(self.count)
            if held < size:
                self.codes[held], self.pictures[held] = codes[index], pictures[index]
                self.count += 1
            elif exchanges > 0.5:
                slot = int(place * size)
                for kept, new in ((self.codes, codes), (self.pictures, pictures)):
                    old = kept[slot].clone()
                    kept[slot] = new[index]
                    new[index] = old
        return codes, pictures
