"""Train a small SPADE generator on tiny landscapes, with every part in sight: about a minute on a CPU core.

    python examples/train_minimal.py --steps 80 --out minimal/

`spadework train` does the same, and also resumes, validates, logs, and shares the work between processes.
"""

import argparse
from pathlib import Path

import torch

import spadework
from pipeline.checkpoints.file import build_encoder, build_generator, save_generator
from pipeline.recipe_file import load_recipe
from training.data.dataset import BatchLoader, RecordDataset
from training.ema import MovingAverage
from training.objectives.objectives import build_discriminator
from training.samples import SampleGrid
from training.step import GanStep, Synthesis

RECIPE = Path(spadework.__file__).parent / "configs" / "demo.yaml"


def train(out: Path, steps: int) -> Path:
    """Draw data, train for so many steps, write weights and samples to `out`; returns the weights' file."""
    # The data: label maps, instance maps and photographs of 64x64 in Parquet, and the recipe that says how to use them.
    spadework.prepare("landscape", out=out / "data", train=64, validation=6, size="64x64", workers=1)
    files = [f"data.{split}={out / 'data' / split}.parquet" for split in ("train", "validation")]
    small = ["generator.channels=8", "discriminator.channels=8", "losses.pixel=10"]  # finds colours in a minute
    recipe = load_recipe(RECIPE, [*files, *small, f"training.steps={steps}", "training.decay_steps=0"])
    data = BatchLoader(RecordDataset(recipe.data.train, recipe))

    # The networks: a generator, with the encoder that finds the style of a photograph, and a discriminator.
    torch.manual_seed(recipe.training.seed)
    synthesis = Synthesis(build_generator(recipe), build_encoder(recipe))
    step = GanStep(synthesis, build_discriminator(recipe), weights=recipe.losses, settings=recipe.training)
    average = MovingAverage(synthesis, recipe.training.ema_decay)

    # Training: each step moves the generator, then the discriminator; the average of the generators is what is kept.
    for number, batch in enumerate(data.batches(steps=steps)):
        terms = step(batch, number)
        average.update(synthesis, number)
        if number % 10 == 0:
            print(f"step {number}:", ", ".join(f"{name} {float(value):.3f}" for name, value in terms.items()))

    # The result: a checkpoint like any other, and label maps, photographs and pictures of the validation set.
    best = average.network
    save_generator(out / "generator.safetensors", best.generator, recipe, step=steps, encoder=best.encoder)
    grid = SampleGrid(recipe.data.validation, recipe, torch.device("cpu"))
    grid.save(grid.draw(best), out / "samples.png")
    return out / "generator.safetensors"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a small SPADE generator on tiny landscapes.")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--out", type=Path, default=Path("minimal"))
    print(spadework.load(train(**vars(parser.parse_args()))))
