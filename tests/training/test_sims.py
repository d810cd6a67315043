"""SIMS: what its canvases are made of in training, what it learns by, and that a run resumes as if it never stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.checkpoints.file import load_checkpoint
from pipeline.config import Recipe, SIMSSettings
from pipeline.data.records import DatasetInfo, RecordWriter, decode_record, iter_rows, read_info
from pipeline.data.schema import DISPARITY_FIELD, RECORD_FIELDS, Record
from pipeline.errors import InputError
from pipeline.labels import LabelSpace
from pipeline.segments.bank import MemoryBank
from pipeline.segments.build import build_bank
from pipeline.segments.canvas import edge_band
from training.data import canvases as canvases_module
from training.data.canvases import TrainingCanvases
from training.data.dataset import BatchLoader, RecordDataset
from training.job import TrainingJob
from training.loop import train_worker
from training.objectives.perceptual_regression import PerceptualRegression
from training.objectives.trunk import Trunk
from training.run_folder import RunFolder
from training.state import TrainingState
from training.train import train
from training.worker import Worker

Make = Callable[..., Recipe]
TRUNK = Path(__file__).parents[2] / "weights" / "landscape-segmenter.safetensors"
WIDTHS = [2, 3, 4, 5]
ORDERING = {
    "kind": "sims",
    "widths": WIDTHS,
    "segment_widths": WIDTHS,
    "order_network": True,
    "order_hidden": 6,
    "segment_rate": 1.0,
}
RECORD_NAMES = [field.name for field in RECORD_FIELDS]


@pytest.fixture(scope="session")
def bank(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the training set."""
    path = tmp_path_factory.mktemp("bank") / "bank.parquet"
    build_bank(tiny_data, path, quiet=True)
    return path


@pytest.fixture(scope="session")
def others(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two records under other ids, to validate on."""
    path = tmp_path_factory.mktemp("others") / "others.parquet"
    rng = np.random.default_rng(9)
    space = LabelSpace(classes=("sky", "sea", "sand"), dont_care=255, instance_edges=True)
    with RecordWriter(path, DatasetInfo(space)) as writer:
        for index in range(2):
            label = np.repeat(np.repeat(rng.integers(3, size=(5, 4)), 8, 0), 9, 1).astype(np.uint8)
            image = rng.integers(0, 256, (*label.shape, 3)).astype(np.uint8)
            writer.write({"id": f"v{index}", "label": label, "instance": label // 2, "image": image})
    return path


@pytest.fixture(scope="session")
def with_disparity(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training set, in which class 2 is nearest and class 0 furthest."""
    path = tmp_path_factory.mktemp("near") / "train.parquet"
    info = read_info(tiny_data)
    with RecordWriter(path, info, (*RECORD_FIELDS, DISPARITY_FIELD)) as writer:
        for row in iter_rows(tiny_data):
            label = decode_record(row).label
            near = np.where(label < 3, label + 1, 0).astype(np.uint16)
            writer.write({name: row[name] for name in RECORD_NAMES} | {"disparity": near})
    return path


def sims(tiny_recipe: Make, bank: Path, others: Path, moves: bool = False, **changed: object) -> Recipe:
    generator = {"kind": "sims", "bank": str(bank), "widths": WIDTHS}
    if moves:
        generator |= {"transform": True, "segment_widths": WIDTHS}
    return tiny_recipe(generator=generator, data={"validation": str(others)}, **changed)


def half_and_half(tmp_path: Path, split: int, colours: tuple[int, int], name: str) -> Record:
    """Class 0 above row `split`, class 1 below, each of one colour."""
    label = np.zeros((32, 32), np.uint8)
    label[split:] = 1
    return Record(name, label, None, np.repeat(np.array(colours, np.uint8)[label][..., None], 3, axis=2))


def bank_of(tmp_path: Path, records: list[Record]) -> MemoryBank:
    with RecordWriter(tmp_path / "train.parquet", DatasetInfo(LabelSpace(classes=("a", "b")))) as writer:
        for record in records:
            writer.write({"id": record.id, "label": record.label, "image": record.image})
    build_bank(tmp_path / "train.parquet", tmp_path / "bank.parquet", quiet=True)
    return MemoryBank(tmp_path / "bank.parquet")


def test_pieces_are_the_pictures_own_pixels_cut_by_the_most_alike_shape_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [half_and_half(tmp_path, split, (40, 200), f"r{split}") for split in (8, 14, 16, 22)]
    bank = bank_of(tmp_path, records)
    settings = SIMSSettings(recolour=0.0)
    monkeypatch.setattr(canvases_module, "EDGE", 0.0)  # the band is the boundary itself
    made = TrainingCanvases(bank, settings, bank.space).draw(records[2], seed=5)
    # Of 8, 14 and 22 the upper half of 14 is the most alike: rows 14 and 15 of class 0 are not in it. Of class 1 too.
    owner = np.full((32, 32), -1)
    owner[:14], owner[16:] = 0, 1
    band = edge_band(owner == 0, 1) | edge_band(owner == 1, 1)
    known = made[..., 3] == 255
    assert np.array_equal(known | band, owner >= 0) and 0 < (known & band).sum() < band.sum()
    assert (made[:14][known[:14], :3] == 40).all() and (made[16:][known[16:], :3] == 200).all()
    assert not made[~known].any()
    again, another = (TrainingCanvases(bank, settings, bank.space).draw(records[2], seed=seed) for seed in (5, 6))
    assert np.array_equal(made, again) and not np.array_equal(made, another)
    # A source's name comes before the id: its own shape is left out all the same.
    named = TrainingCanvases(bank, settings, bank.space).draw(replace(records[2], id="mine:r16"), seed=5)
    assert np.array_equal(named, made)
    stranger = TrainingCanvases(bank, settings, bank.space).draw(replace(records[2], id="r99"), seed=5)
    assert (stranger[..., 3] == 255)[14:16].any()  # whose own shape is that of r16


def test_a_picture_alone_in_its_bank_has_no_pieces(tmp_path: Path) -> None:
    record = half_and_half(tmp_path, 16, (40, 200), "only")
    bank = bank_of(tmp_path, [record])
    assert not TrainingCanvases(bank, SIMSSettings(), bank.space).draw(record, seed=0).any()


def test_what_is_to_be_moved_is_of_another_picture_and_where_it_belongs(tmp_path: Path) -> None:
    records = [
        half_and_half(tmp_path, split, (colour, colour + 9), f"r{split}")
        for split, colour in ((8, 20), (14, 60), (16, 100), (22, 140))
    ]
    bank = bank_of(tmp_path, records)
    made = TrainingCanvases(bank, SIMSSettings(transform=True), bank.space)
    upper, lower = np.zeros((32, 32, 4), np.uint8), np.zeros((32, 32, 4), np.uint8)
    upper[:14, :, :3], upper[:16, :, 3] = 60, 255  # of the others, that of 14 is the most alike
    lower[14:, :, :3], lower[16:, :, 3] = 69, 255
    drawn = [made.draw_segment(records[2], seed) for seed in range(12)]
    assert all(np.array_equal(each, upper) or np.array_equal(each, lower) for each in drawn)
    assert {bool(each[0, 0].any()) for each in drawn} == {False, True}
    assert np.array_equal(drawn[3], made.draw_segment(records[2], 3))
    alone = bank_of(tmp_path, records[:1])
    assert not TrainingCanvases(alone, SIMSSettings(transform=True), bank.space).draw_segment(records[0], 0).any()
    assert TrainingCanvases(bank, SIMSSettings(), bank.space).draw_segment(records[0], 0) is None


def test_recoloured_pieces_have_the_colours_of_another_of_their_class(tmp_path: Path) -> None:
    records = [
        half_and_half(tmp_path, split, colours, f"r{split}") for split, colours in ((16, (40, 200)), (15, (90, 10)))
    ]
    bank = bank_of(tmp_path, records)
    made = TrainingCanvases(bank, SIMSSettings(recolour=1.0), bank.space).draw(records[0], seed=1)
    known = made[..., 3] == 255
    assert set(made[:16][known[:16], 0].tolist()) == {90} and set(made[16:][known[16:], 0].tolist()) == {10}
    share = np.mean(
        [
            TrainingCanvases(bank, SIMSSettings(), bank.space).draw(records[0], seed=seed)[2, 2, 0] == 90
            for seed in range(200)
        ]
    )
    assert 0.1 < share < 0.3


def run(recipe: Recipe, out: Path, stop_after: int | None = None) -> RunFolder:
    """Train in this process; `stop_after` steps as Ctrl-C would."""
    folder = RunFolder(out)
    folder.claim(recipe)
    done: list[int] = []
    train_worker(
        TrainingJob(recipe, folder.path, base=Path(), trunk_weights=TRUNK),
        Worker(),
        should_stop=lambda: stop_after is not None and len(done) + 1 >= stop_after,
        progress=lambda step, rate: done.append(step),
    )
    return folder


def test_a_run_resumes_as_if_it_had_never_stopped(
    tiny_recipe: Make, bank: Path, others: Path, with_disparity: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe(
        generator=ORDERING | {"bank": str(bank), "transform": True},
        data={"train": str(with_disparity), "validation": str(others)},
        steps=4,
        decay_steps=4,
        accumulate=2,
    )
    whole, parts = run(recipe, tmp_path / "whole"), run(recipe, tmp_path / "parts", stop_after=2)
    assert parts.step() == load_checkpoint(parts.path).step == 2
    run(recipe, tmp_path / "parts")
    expected, found = (folder.load_snapshot()[1] for folder in (whole, parts))
    assert set(expected) == set(found)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert (whole.path / "samples/step-00000003.png").exists()
    published = load_checkpoint(whole.path)
    assert published.recipe == recipe and published.generator.settings.kind == "sims"
    told = {"generator/regression", "generator/classes", "generator/transformation", "generator/order"}
    assert set(whole.read_stats()[-1]["losses"]) == told
    assert published.generator.transformation.theta.weight.any()


def test_the_order_is_learned_from_disparity(
    tiny_recipe: Make, bank: Path, others: Path, with_disparity: Path, tmp_path: Path
) -> None:
    generator = ORDERING | {"bank": str(bank)}
    data = {"train": str(with_disparity), "validation": str(others)}
    recipe = tiny_recipe(generator=generator, data=data, accumulate=2)
    state = TrainingState(recipe, Worker(), PerceptualRegression(Trunk([]), [1.0]))
    batches = BatchLoader(RecordDataset(with_disparity, recipe), bank=str(bank)).batches()
    batch = next(batches)
    batches.close()
    assert batch.pairs is not None and batch.fronts is not None
    for pair, front in zip(batch.pairs, batch.fronts, strict=True):
        shown = set(pair.unique().tolist()) - {0}
        assert len(shown) == 2 and int(front) == max(shown) - 1  # class 2 before 1 before 0
    network = state.step.bare_synthesis.generator
    with torch.no_grad():
        channels = (batch.codes - 1) // 2
        logits = network.front_classes(batch.pairs, channels, batch.seeds)
    terms = state.step(batch)
    assert float(terms["generator/order"]) == pytest.approx(float(F.cross_entropy(logits, batch.fronts)), rel=1e-5)
    # Records without a pair count, as 0: so no share of a batch weighs more than another.
    none = replace(batch, pairs=torch.zeros_like(batch.pairs), fronts=torch.full_like(batch.fronts, -1))
    assert float(state.step(none)["generator/order"]) == 0
    lacking = tiny_recipe(generator=generator, data={"validation": str(others)})
    with pytest.raises(InputError, match=r"record 'r\d' has no disparity, .* prepare the data with --disparity"):
        run(lacking, tmp_path / "lacking")


def test_the_losses_are_those_of_the_pictures_and_of_the_classes(tiny_recipe: Make, bank: Path, others: Path) -> None:
    recipe = sims(tiny_recipe, bank, others, moves=True, losses={"classes": 3.0})
    loss = PerceptualRegression(Trunk([]), [1.0])
    state = TrainingState(recipe, Worker(), loss)
    batches = BatchLoader(RecordDataset(recipe.data.train, recipe), bank=str(bank)).batches()
    batch = next(batches)
    batches.close()
    assert batch.canvases is not None and batch.canvases.shape == (4, 4, 32, 32)
    known = batch.canvases[:, 3:]
    assert set(known.unique().tolist()) == {0, 1} and 0.1 < known.mean() < 0.9
    # What is known and not recoloured is the photograph.
    close = ((batch.pictures + 1) / 2 - batch.canvases[:, :3]).abs().amax(dim=1, keepdim=True) < 1e-6
    assert close[known == 1].float().mean() > 0.5
    generator = state.step.bare_synthesis.generator
    with torch.no_grad():
        pictures, logits = generator.mend(generator.label_input(batch.codes).with_canvas(batch.canvases))
        shown = F.cross_entropy(logits, (batch.codes.long() - 1) // 2)
        regression = ((pictures - batch.pictures) / 2 / loss.trunk.std).abs().mean()
    assert batch.segments is not None and batch.segments.shape == (4, 4, 32, 32)
    segments, masks = batch.segments.split([3, 1], dim=1)
    apart = [
        ((segment - (picture + 1) / 2).abs() * mask).sum() / (3 * mask.sum())
        for segment, picture, mask in zip(segments, batch.pictures, masks, strict=True)
        if mask.any()
    ]
    terms = state.step(batch)
    # Before it has learned anything it leaves them where they were.
    assert float(terms["generator/transformation"]) == pytest.approx(float(sum(apart)) / 4, rel=1e-5)
    state.set_rates(0)
    fast, slow = state.step.optimiser.adam.param_groups
    assert slow["lr"] == pytest.approx(0.1 * fast["lr"])
    assert {id(each) for each in slow["params"]} == {id(each) for each in generator.transformation.parameters()}
    assert float(terms["generator/regression"]) == pytest.approx(float(regression), rel=1e-5)
    assert float(terms["generator/classes"]) == pytest.approx(3 * float(shown), rel=1e-5)
    assert state.step.optimiser.adam.param_groups[0]["betas"] == (0.9, 0.999)
    first, second = batch.split(2)
    assert torch.equal(torch.cat([first.canvases, second.canvases]), batch.canvases)
    assert torch.equal(torch.cat([first.noise, second.noise], dim=1), batch.noise)


def test_it_learns_to_restore_pictures(tiny_recipe: Make, bank: Path, others: Path, tmp_path: Path) -> None:
    recipe = sims(tiny_recipe, bank, others, steps=12, learning_rate=0.01, losses={"regression": [1, 0, 0, 0]})
    result = train(recipe, tmp_path / "run", workers=0, trunk_weights=TRUNK)
    entries = RunFolder(result.folder).read_stats()
    for term in ("generator/regression", "generator/classes"):
        assert entries[-1]["losses"][term] < 0.9 * entries[0]["losses"][term], term
    # Another bank under the same name is told, before anything is done.
    kept = bank.read_bytes()
    try:
        build_bank(recipe.data.train, bank, least_area=0.05, quiet=True)
        with pytest.raises(InputError, match=r"bank\.parquet of the data set generator\.bank has changed"):
            train(recipe, tmp_path / "run", workers=0, trunk_weights=TRUNK)
    finally:
        bank.write_bytes(kept)


def test_what_cannot_be_trained_is_said_in_a_line(tiny_recipe: Make, bank: Path, others: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make a memory bank of them with `spadework prepare bank`"):
        tiny_recipe(generator={"kind": "sims"})
    for order, message in (["sky", "moon"], "names 'moon', which is no class"), (["sea", "sea"], "names 'sea' twice"):
        with pytest.raises(InputError, match=message):
            tiny_recipe(generator={"kind": "sims", "bank": str(bank), "order": order})
    recipe = sims(tiny_recipe, bank, others)
    with pytest.raises(InputError, match="learn by perceptual regression alone; give it a network"):
        train(recipe, tmp_path / "run", workers=0)
    missing = sims(tiny_recipe, tmp_path / "none.parquet", others)
    with pytest.raises(InputError, match=r"none\.parquet does not exist"):
        train(missing, tmp_path / "run", workers=0, trunk_weights=TRUNK)
    same = tiny_recipe(generator={"kind": "sims", "bank": str(bank), "widths": WIDTHS})
    with pytest.raises(InputError, match=r"holds 10 pictures of .*, such as 'r0', which would be pasted back"):
        train(same, tmp_path / "run", workers=0, trunk_weights=TRUNK)
    flat = tiny_recipe(generator=ORDERING | {"bank": str(bank)}, data={"validation": str(others)})
    with pytest.raises(InputError, match=r"tiny\.parquet has no column disparity, .* with --disparity"):
        train(flat, tmp_path / "run", workers=0, trunk_weights=TRUNK)
    assert not (tmp_path / "run").exists()
