"""The laboratory's rows on a data set that papers publish figures on, and on another one."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.report.laboratory import PUBLICATIONS, laboratory_lines, laboratory_rows
from evaluation.report.published import published_tables
from evaluation.scoring.protocols import PRESETS
from evaluation.scoring.scores import LabelScores, Scores, SetScores
from pipeline.datasets import ade20k, cityscapes


def scored(classes: Sequence[str], names: Sequence[str]) -> Scores:
    """Pictures of mean IoU 0.3 and photographs of 0.6, by each of the presets; accuracies 0.8, with void 0.7."""

    def labels(mean_iou: float) -> dict[str, LabelScores]:
        return {name: LabelScores(mean_iou, None, 0.8, 0.7, None, {}, {}, []) for name in names}

    return Scores(
        title="x",
        classes=(),
        palette=(),
        protocols=tuple(PRESETS[name] for name in names),
        sets=(
            SetScores("synthesized", "synthesized", 4, 4, labels(0.3)),
            SetScores("real photographs", "photographs", 4, 4, labels(0.6)),
        ),
        settings={"data_classes": list(classes)},
    )


def test_a_known_data_set_has_its_own_protocols_beside_the_papers_figures() -> None:
    rows = {row.publication: row for row in laboratory_rows(scored(cityscapes.SPACE.classes, list(PRESETS)))}
    assert list(rows) == ["SPADE", "CC-FPSE", "OASIS", "GAN-compression", "CLADE", "SDM", "SCP-Diff"]
    spade = rows["SPADE"]
    assert (spade.protocol, spade.data_set, spade.ceiling) == ("spade-cityscapes", "Cityscapes", "60.0%")
    assert spade.ours == ("30.0%", "70.0%", "–")  # void pixels are errors
    assert spade.paper == ("62.3", "81.9", "71.8")
    assert "93.5" in spade.note
    assert rows["OASIS"].ours[1] == "80.0%"
    assert rows["OASIS"].paper == ("69.3", "–", "47.7")
    assert rows["GAN-compression"].paper == ("61.22", "–", "–")
    assert rows["CLADE"].paper == ("–", "–", "–")
    assert rows["SCP-Diff"].paper == ("67.92", "94.65", "10.53")
    assert "exchanged" in rows["SCP-Diff"].note


def test_both_figures_of_oasis_stand_side_by_side() -> None:
    rows = {row.publication: row for row in laboratory_rows(scored(ade20k.SPACE.classes, list(PRESETS)))}
    assert rows["OASIS"].paper[0] == "48.8"
    assert (rows["OASIS, single scale"].protocol, rows["OASIS, single scale"].paper[0]) == (
        "oasis-ade20k-single",
        "42.76",
    )


def test_another_data_set_has_all_protocols_and_no_figures() -> None:
    scores = scored(("sky", "sea"), list(PRESETS))
    rows = laboratory_rows(scores)
    assert len(rows) == sum(len(publication.protocols) for publication in PUBLICATIONS)
    assert {row.paper for row in rows} == {("–", "–", "–")}
    assert [row.data_set for row in rows if row.publication == "SDM" and row.note] == ["COCO-Stuff"]  # said once
    table = laboratory_lines(scores)
    assert table[2] == "| SPADE | COCO-Stuff | spade | 30.0% | 60.0% | 70.0% | – | – / – / – |"
    assert "- SPADE, COCO-Stuff: A mean IoU of 35.2 in the paper's text, 37.4 in its table." in table


def test_one_protocol_is_no_laboratory() -> None:
    assert laboratory_rows(scored(("sky", "sea"), ["native"])) == []
    assert laboratory_lines(scored(("sky", "sea"), ["native", "spade"])) == []


def test_publications_name_presets_and_published_methods() -> None:
    known = {
        table.data_set: {row.method for row in table.rows}
        for space in (cityscapes.SPACE, ade20k.SPACE)
        for table in published_tables(space.classes)
    }
    for publication in PUBLICATIONS:
        assert set(publication.protocols.values()) <= set(PRESETS)
        for data_set in publication.protocols.keys() & known.keys():
            assert publication.method is None or publication.method in known[data_set]
