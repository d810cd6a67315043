"""The verbs `weights` and `import-weights`: other people's files."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.command_line import OUT, RECIPE, WEIGHTS, Verbs, read_recipe
from pipeline.command_output import tell


@click.command("import-weights")
@click.argument("generator", type=WEIGHTS)
@click.option("--recipe", required=True, type=RECIPE, help="Of the network that the weights are of.")
@click.option("--encoder", type=WEIGHTS, help="The style encoder's file, for networks with style.")
@click.option(
    "--dont-care-first/--dont-care-last",
    default=None,
    help="Where the channel of don't-care is  [default: first for ADE20K, last for COCO-Stuff; others must say]",
)
@click.option("--out", required=True, type=OUT, help="The checkpoint to write (.safetensors).")
def import_weights(
    generator: Path, recipe: Path, encoder: Path | None, dont_care_first: bool | None, out: Path
) -> None:
    """Convert a public SPADE checkpoint (latest_net_G.pth) for synthesize.

    \b
    Example:
      spadework import-weights latest_net_G.pth --recipe coco_stuff --out coco.safetensors
    """
    settings = read_recipe(recipe)

    from pipeline.checkpoints.import_public import import_weights as run

    assumed = run(generator, settings, out, encoder_file=encoder, dont_care_first=dont_care_first)
    tell(f"wrote {out}; {assumed}", checkpoint=out, assumed=assumed)


@click.group(cls=Verbs)
def weights() -> None:
    """Public weights of segmenters, FID's Inception, VGG19 and LPIPS: never fetched unless asked for."""


@weights.command("list")
def weights_list() -> None:
    """Show every known file: purpose, size, licence, address, SHA-256, and whether it is here.

    \b
    Example:
      spadework weights list
    """
    from pipeline.pretrained.registry import FILES, cache_folder
    from pipeline.pretrained.registry import list_weights as run

    tell(run(), cache=cache_folder(), files=FILES)


@weights.command("fetch")
@click.argument("names", nargs=-1, required=True)
def weights_fetch(names: tuple[str, ...]) -> None:
    """Fetch files by name into the cache ($SPADEWORK_CACHE) and verify them; the same command continues a transfer.

    \b
    Example:
      spadework weights fetch inception-pytorch-fid
    """
    from pipeline.pretrained.fetch import fetch_weights as run

    paths = [path for name in names for path in run(name)]
    tell("\n".join(map(str, paths)), files=paths)


@weights.command("check")
@click.pass_context
def weights_check(ctx: click.Context) -> None:
    """Verify what is in the cache; exit code 2 if a file is not what it should be.

    \b
    Example:
      spadework weights check
    """
    from pipeline.pretrained.fetch import check_weights as run

    lines, good = run()
    tell("\n".join(lines), files=lines, good=good)
    ctx.exit(0 if good else 2)
