"""What a synthesized picture says about itself: an XMP packet in its PNG, WebP or JPEG file, beside the pixels.

It names the picture as made by a trained network (`DigitalSourceType` of IPTC Photo Metadata, with the term
`trainedAlgorithmicMedia` of IPTC's NewsCodes), and the checkpoint and the seed that it came from.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

XMP = "xmp 1"
"""What jobs are described by whose pictures carry this packet; another packet needs another name."""
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:spadework="urn:spadework:provenance"\n'
    ' Iptc4xmpExt:DigitalSourceType="{source_type}"\n'
    ' xmp:CreatorTool="spadework" spadework:checkpoint="{checkpoint}" spadework:seed="{seed}"/>\n'
    '</rdf:RDF></x:xmpmeta>\n<?xpacket end="r"?>'
)


@dataclass(frozen=True)
class Provenance:
    """Where pictures come from."""

    checkpoint: str
    """The sha256 of its file; for fresh weights `untrained-` and that of the recipe."""
    seed: int

    def packet(self) -> bytes:
        """The XMP packet, UTF-8: the same for all pictures of a job."""
        return _PACKET.format(source_type=SOURCE_TYPE, checkpoint=self.checkpoint, seed=self.seed).encode()


def read_xmp(data: bytes) -> bytes | None:
    """The XMP packet of an encoded PNG, WebP or JPEG picture that can be decoded; None where it has none."""
    with Image.open(io.BytesIO(data)) as picture:
        found = picture.info.get("XML:com.adobe.xmp") if picture.format == "PNG" else picture.info.get("xmp")
    return found.encode() if isinstance(found, str) else found
