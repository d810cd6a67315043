"""Pictures say where they come from: in each format, without a change of pixels, and `verify` looks."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.data.encoders import ENCODERS
from pipeline.data.provenance import Provenance, read_xmp
from pipeline.errors import InputError
from pipeline.synthesis.verify import verify
from tests.pipeline.synthesis import cases

PACKET = Provenance("c0ffee", 7).packet()


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_the_packet_is_beside_the_pixels(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    plain, marked = ENCODERS[kind](pixels), ENCODERS[kind](pixels, xmp=PACKET)  # type: ignore[index]
    assert read_xmp(plain) is None
    assert read_xmp(marked) == PACKET
    assert ENCODERS[kind](pixels, xmp=PACKET) == marked  # type: ignore[index]
    pictures = [Image.open(io.BytesIO(data)) for data in (plain, marked)]
    np.testing.assert_array_equal(*(np.array(picture) for picture in pictures))
    assert pictures[0].mode == pictures[1].mode == "RGB"
    # Pillow's own reading of XMP, which the packet must be for other tools too.
    assert (pictures[1].info.get("XML:com.adobe.xmp") or pictures[1].info["xmp"].decode()) == PACKET.decode()


def test_the_packet_says_what_iptc_wants_to_know() -> None:
    root = ET.fromstring(PACKET.decode().removeprefix("\ufeff").partition("?>")[2].rpartition("<?xpacket")[0])
    [description] = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert description.attrib["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"] == (
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    )
    assert description.attrib["{urn:spadework:provenance}checkpoint"] == "c0ffee"
    assert description.attrib["{urn:spadework:provenance}seed"] == "7"


def test_every_picture_of_a_job_carries_it_and_verify_looks(checkpoint: Path, tmp_path: Path) -> None:
    maps, out = cases.write_maps(tmp_path / "maps.parquet", 3), tmp_path / "out"
    assert cases.command(maps, checkpoint, out, "--seed", 5).exit_code == 0
    rows = cases.output_rows(out)
    for row in rows:
        assert read_xmp(row["image"]["bytes"]) == Provenance(row["checkpoint"], 5).packet()
    assert verify(str(out)).images == 3
    # A picture without it, in a part whose checksums fit.
    [part] = out.glob("part-*.parquet")
    table = pq.read_table(part)
    stripped = [ENCODERS["png"](np.array(Image.open(io.BytesIO(row["image"]["bytes"])))) for row in rows]
    images = pa.array([{"bytes": data, "path": None} for data in stripped], table.schema.field("image").type)
    pq.write_table(table.set_column(table.schema.get_field_index("image"), table.schema.field("image"), images), part)
    reseal(out, part)
    with pytest.raises(InputError, match=r"id 'map/0', sample 0 does not say where it comes from"):
        verify(str(out))


def reseal(out: Path, part: Path) -> None:
    import hashlib

    manifest = json.loads((out / "manifest.json").read_text())
    manifest["parts"][0] |= {
        "bytes": part.stat().st_size,
        "sha256": hashlib.sha256(part.read_bytes()).hexdigest(),
    }
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "_SUCCESS").write_text(hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest() + "\n")


def test_a_job_that_an_earlier_version_began_stays_without(checkpoint: Path, tmp_path: Path) -> None:
    maps, out = cases.write_maps(tmp_path / "maps.parquet", 20), tmp_path / "out"
    assert cases.command(maps, checkpoint, out).exit_code == 0
    job = json.loads((out / "_job" / "job.json").read_text())
    del job["settings"]["provenance"]
    earlier = tmp_path / "earlier"
    (earlier / "_job").mkdir(parents=True)
    (earlier / "_job" / "job.json").write_text(json.dumps(job))
    assert cases.command(maps, checkpoint, earlier).exit_code == 0
    assert [read_xmp(row["image"]["bytes"]) for row in cases.output_rows(earlier)] == [None] * 20
    assert verify(str(earlier)).images == 20
    for ours, theirs in zip(cases.output_rows(out), cases.output_rows(earlier), strict=True):
        pixels = [np.array(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in (ours, theirs)]
        np.testing.assert_array_equal(*pixels)
