/* Label maps as the service sends and takes them: row-major runs [[id, count], ...]. */

/** The runs of `ids`, a typed array: [[id, count], ...]. */
export function encodeRuns(ids) {
  const runs = [];
  let start = 0;
  for (let at = 1; at <= ids.length; at += 1) {
    if (at < ids.length && ids[at] === ids[start]) continue;
    runs.push([ids[start], at - start]);
    start = at;
  }
  return runs;
}

/** A map {width, height, runs} as an array (of `Type`) of width * height ids; throws where the runs do not fill it. */
export function decodeRuns({ width, height, runs }, Type = Uint16Array) {
  const ids = new Type(width * height);
  let at = 0;
  for (const [id, count] of runs) {
    ids.fill(id, at, at + count);
    at += count;
  }
  if (at !== ids.length) throw new Error(`runs cover ${at} pixels, but ${width}x${height} has ${ids.length}`);
  return ids;
}
