/* Label maps as PNG files of ids: canvases know colours only, so the file is written here. */

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function chunk(name, content) {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set([...name].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(content, 8);
  let crc = 0xffffffff;
  for (const byte of bytes.subarray(4, 8 + content.length)) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  view.setUint32(8 + content.length, (crc ^ 0xffffffff) >>> 0);
  return bytes;
}

async function deflate(bytes) {
  const packed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

/**
 * A PNG (blob) of a label map whose stored numbers are the ids: with the palette where ids fit into a byte, so that
 * viewers show the classes' colours, else grey of 16 bits. `colour(id)` gives [red, green, blue].
 */
export async function encodeLabels({ width, height, labels }, colour) {
  const most = labels.reduce((found, id) => Math.max(found, id), 0);
  const wide = most > 255;
  const row = 1 + (wide ? 2 : 1) * width; // each row begins with its filter, 0: none
  const raw = new Uint8Array(row * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const id = labels[y * width + x];
      if (wide) raw.set([id >> 8, id & 255], y * row + 1 + 2 * x);
      else raw[y * row + 1 + x] = id;
    }
  }
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header.set(wide ? [16, 0] : [8, 3], 8); // depth, and grey or palette
  const palette = new Uint8Array(wide ? 0 : 3 * (most + 1));
  for (let id = 0; 3 * id < palette.length; id += 1) palette.set(colour(id), 3 * id);
  const colours = wide ? [] : [chunk("PLTE", palette)];
  const chunks = [chunk("IHDR", header), ...colours, chunk("IDAT", await deflate(raw)), chunk("IEND", new Uint8Array())];
  return new Blob([Uint8Array.from(SIGNATURE), ...chunks], { type: "image/png" });
}
