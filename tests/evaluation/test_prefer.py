"""The page of a blind test shows what its seed says, and votes are counted for the right set."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cli import main
from evaluation.prefer import Preference, count_votes, first_is_left, write_page
from pipeline.data.images import decode_image, decode_label
from pipeline.data.records import check_dataset, iter_rows
from pipeline.errors import InputError
from tests.evaluation.conftest import SPACE, draw, photograph, write_pictures, write_records
from tests.pages import check_page

RECORDS = [draw(index) for index in range(20)]
PAIR = re.compile(r'\{id: "([^"]+)", sample: (\d+), left: "([^"]+)", right: "([^"]+)", map: "([^"]+)"\}')


def black(record: Any, sample: int) -> np.ndarray:
    return np.zeros((*record.label.shape, 3), np.uint8)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photographs of 20 scenes, and black pictures of all but two."""
    folder = tmp_path_factory.mktemp("prefer")
    return (
        write_pictures(folder / "good", RECORDS, photograph),
        write_pictures(folder / "black", RECORDS[2:], black, samples=2),
    )


def page_of(path: Path) -> tuple[dict[str, Any], list[tuple[str, int, bool]]]:
    """What a page says of itself, and id, sample and whether the black picture is on the left of its pairs."""
    text = path.read_text()
    check_page(text)
    assert not re.search(r"https?://|<link|@import|url\(", text)
    found = re.search(r"const page = (.+);", text)
    assert found
    shown = []
    for name, sample, *uris in PAIR.findall(text):
        left, right, _ = (decode_image(base64.b64decode(uri.partition(",")[2])) for uri in uris)
        assert left.any() != right.any()
        shown.append((name, int(sample), not left.any()))
    return json.loads(found[1]), shown


def save(path: Path, page: dict[str, Any], votes: list[tuple[str, int, str]]) -> Path:
    """As the page does."""
    listed = [{"id": name, "sample": sample, "choice": choice} for name, sample, choice in votes]
    path.write_text(json.dumps({**page, "votes": listed}))
    return path


def test_a_page_has_pairs_of_what_both_have_in_the_order_and_places_of_its_seed(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "page.html"
    assert write_page(*sets, out, seed=4) == 18
    page, shown = page_of(out)
    assert (page["first"], page["second"], page["seed"]) == ("good", "black", 4)
    assert {name for name, _, _ in shown} == {record.id for record in RECORDS[2:]}
    assert {sample for _, sample, _ in shown} == {0}
    places = [black_left for _, _, black_left in shown]
    assert places == [not first_is_left(4, (name, sample)) for name, sample, _ in shown]
    assert 3 < sum(places) < 15
    assert write_page(*sets, tmp_path / "other.html", seed=5, pairs=7) == 7
    other, fewer = page_of(tmp_path / "other.html")
    assert other["page"] != page["page"]
    assert [name for name, _, _ in fewer] != [name for name, _, _ in shown[:7]]
    # The other way round the same picture stands on the other side.
    write_page(sets[1], sets[0], tmp_path / "turned.html", seed=4)
    assert [place for _, _, place in page_of(tmp_path / "turned.html")[1]] == [not place for place in places]


def test_votes_are_counted_for_the_set_whose_picture_was_chosen(sets: tuple[Path, Path], tmp_path: Path) -> None:
    write_page(*sets, tmp_path / "page.html", seed=4)
    page, shown = page_of(tmp_path / "page.html")
    votes = []
    for index, (name, sample, black_left) in enumerate(shown):
        choice = "tie" if index < 4 else "right" if black_left != (index >= 14) else "left"
        votes.append((name, sample, choice))  # of 18 pairs 4 ties, 10 for the photograph, 4 for the black picture
    one = save(tmp_path / "one.json", page, votes)
    found = count_votes([one])
    left = sum(choice == "left" for _, _, choice in votes)
    assert found == Preference("good", "black", first_wins=10, second_wins=4, ties=4, left=left)
    assert found.share() == (pytest.approx(10 / 14), pytest.approx((0.4535, 0.8828), abs=1e-4))
    assert found.share("half") == (pytest.approx(12 / 18), pytest.approx((0.4375, 0.8372), abs=1e-4))
    assert count_votes([one, save(tmp_path / "two.json", page, votes[:3])]).ties == 7

    result = CliRunner().invoke(main, ["prefer", "--votes", str(one)])
    assert result.exit_code == 0, result.output
    assert (
        "good is preferred to black in 71.4% of the votes (45.4 to 88.3%, 95% Wilson, ties left out)" in result.output
    )
    assert f"10 for good, 4 for black, 4 ties. The left picture was chosen in {left} of 14" in result.output
    assert "66.7%" in CliRunner().invoke(main, ["prefer", "--votes", str(one), "--ties", "half"]).output
    assert "No vote decides (0 for good, 0 for black, 4 ties)." in count_votes(
        [save(tmp_path / "ties.json", page, votes[:4])]
    ).summary("excluded")


def test_votes_become_records_of_both_pictures(sets: tuple[Path, Path], tmp_path: Path) -> None:
    write_page(*sets, tmp_path / "page.html", seed=4)
    page, shown = page_of(tmp_path / "page.html")
    (first, _, black_left), (second, _, _), (third, _, _) = shown[:3]
    votes = [
        {"id": first, "sample": 0, "choice": "right" if black_left else "left", "bad": ["left", "right"][:black_left]},
        {"id": second, "sample": 0, "choice": "tie"},
    ]
    files = [tmp_path / name for name in ("one.json", "two.json")]
    files[0].write_text(json.dumps({**page, "votes": votes}))
    black_side = "left" if black_left else "right"
    files[1].write_text(
        json.dumps({**page, "votes": [{"id": first, "sample": 0, "choice": black_side, "bad": [black_side]}]})
    )
    out = tmp_path / "marks.parquet"
    options = [option for path in files for option in ("--votes", str(path))]
    result = CliRunner().invoke(main, ["prefer", *map(str, sets), *options, "--records", str(out)])
    assert result.exit_code == 0, result.output
    assert f"6 records in {out}: spadework evaluate --marks {out}" in result.output
    assert f"Marked as bad: 0 pictures of good, {1 + black_left} of black." in result.output
    assert check_dataset(out, ("id", "label", "image")).space == SPACE
    rows = list(iter_rows(out))
    marks = {(row["painted_id"], row["note"]): [] for row in rows}  # type: ignore[var-annotated]
    for row in rows:
        assert decode_image(row["image"]["bytes"]).any() == (row["note"] == "good")
        assert np.array_equal(
            decode_label(row["label"]["bytes"]), next(r.label for r in RECORDS if r.id == row["painted_id"])
        )
        assert (row["style"], row["seed"], row["checkpoint"], row["sample"]) == ('{"seed": 3}', 3, "c0ffee", 0)
        marks[row["painted_id"], row["note"]].append(row["mark"])
    assert marks == {
        (first, "good"): ["better", "worse"],
        (first, "black"): ["bad" if black_left else "worse", "bad"],
        (second, "good"): ["tie"],
        (second, "black"): ["tie"],
    }
    assert third not in {name for name, _ in marks}


def test_votes_on_other_sets_become_no_records(sets: tuple[Path, Path], tmp_path: Path) -> None:
    write_page(*sets, tmp_path / "page.html", seed=4)
    page, shown = page_of(tmp_path / "page.html")
    votes = save(tmp_path / "votes.json", page, [(shown[0][0], 0, "left")])
    lost = save(tmp_path / "lost.json", page, [("scene-000", 0, "left")])
    for arguments, message in (
        ([*sets, "--records", tmp_path / "x.parquet"], "--records needs the two sets of pictures and --votes FILE"),
        (["--votes", votes, "--records", tmp_path / "x.parquet"], "--records needs the two sets of pictures"),
        ([*sets[::-1], "--votes", votes, "--records", tmp_path / "x.parquet"], "good and black, not black and good"),
        ([*sets, "--votes", votes, "--records", tmp_path / "x.json"], "is no Parquet file"),
        ([*sets, "--votes", lost, "--records", tmp_path / "x.parquet"], "has no picture 'scene-000' (sample 0)"),
    ):
        result = CliRunner().invoke(main, ["prefer", *map(str, arguments)])
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert message in result.stderr
    assert not (tmp_path / "x.parquet").exists()


def test_the_verb_writes_a_page(sets: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["prefer", *map(str, sets), "--out", str(out), "--pairs", "5"])
    assert result.output == f"5 pairs: open {out} in a browser\n"
    assert len(page_of(out)[1]) == 5


def test_what_is_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    page = {"schema": 1, "page": "a", "first": "x", "second": "y", "seed": 0}
    good = save(tmp_path / "good.json", page, [("a", 0, "left")])
    other = save(tmp_path / "other.json", {**page, "page": "b"}, [])
    for arguments, message in (
        ([], "give two sets of pictures"),
        ([sets[0]], "give two sets of pictures"),
        ([*sets, "--votes", good], "give two sets of pictures"),
        ([sets[0], tmp_path / "none"], "does not exist"),
        ([*sets, "--out", tmp_path / "page"], "is no HTML file"),
        (["--votes", tmp_path / "none.json"], "does not exist"),
        (["--votes", good, "--votes", other], "has the votes of another page than"),
    ):
        result = CliRunner().invoke(main, ["prefer", *map(str, arguments)])
        assert result.exit_code == 2
        assert message in result.stderr
    for text in ("", "[]", "{}", json.dumps({**page, "votes": [{"id": "a", "sample": 0, "choice": "up"}]})):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match="is no file of votes"):
            count_votes([tmp_path / "bad.json"])
    strangers = write_records(tmp_path / "strangers.parquet", [draw(77)])
    with pytest.raises(InputError, match="have no picture of the same id and sample"):
        write_page(sets[0], strangers, tmp_path / "page.html")
    renamed = write_records(tmp_path / "renamed.parquet", [replace(draw(3), id=RECORDS[5].id)])
    with pytest.raises(InputError, match=r"'scene-005' is another label map in"):
        write_page(sets[0], renamed, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
