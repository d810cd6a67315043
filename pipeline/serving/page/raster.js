/* Shapes as spans: each function calls span(y, left, right), right left out, for the pixels whose centres it covers. */

/** A line from (x0, y0) to (x1, y1) with round ends, `size` pixels thick: one stroke of a brush. */
export function capsule(x0, y0, x1, y1, size, span) {
  const radius = Math.max(size, 1) / 2;
  const [dx, dy] = [x1 - x0, y1 - y0];
  const length2 = dx * dx + dy * dy;
  const reach = radius * radius + 1e-9;
  const near = (x, y) => {
    const t = length2 ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / length2)) : 0;
    const [ex, ey] = [x - x0 - t * dx, y - y0 - t * dy];
    return ex * ex + ey * ey <= reach;
  };
  // The shape is convex: the pixels of a row are one span. A thin brush may miss every centre: take what it touches.
  const left = Math.floor(Math.min(x0, x1) - radius);
  const right = Math.ceil(Math.max(x0, x1) + radius);
  for (let y = Math.floor(Math.min(y0, y1) - radius); y <= Math.ceil(Math.max(y0, y1) + radius); y += 1) {
    let from = left;
    let to = right;
    while (from < to && !near(from + 0.5, y + 0.5)) from += 1;
    while (to > from && !near(to - 0.5, y + 0.5)) to -= 1;
    if (to > from) span(y, from, to);
  }
  if (size <= 1) hairline(x0, y0, x1, y1, span);
}

/** The pixels that a line without thickness runs through, one a step along its longer axis. */
function hairline(x0, y0, x1, y1, span) {
  const steps = Math.max(1, Math.ceil(Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0))));
  for (let step = 0; step <= steps; step += 1) {
    const x = Math.floor(x0 + ((x1 - x0) * step) / steps);
    span(Math.floor(y0 + ((y1 - y0) * step) / steps), x, x + 1);
  }
}

/** The rectangle whose opposite corners are the pixels at (x0, y0) and (x1, y1), both inside. */
export function rectangle(x0, y0, x1, y1, span) {
  const [left, right] = [Math.floor(Math.min(x0, x1)), Math.floor(Math.max(x0, x1)) + 1];
  for (let y = Math.floor(Math.min(y0, y1)); y <= Math.floor(Math.max(y0, y1)); y += 1) span(y, left, right);
}

/** The inside of a polygon [[x, y], ...] by the even-odd rule, and its outline. */
export function polygon(points, span) {
  const heights = points.map((point) => point[1]);
  for (let y = Math.floor(Math.min(...heights)); y <= Math.floor(Math.max(...heights)); y += 1) {
    const middle = y + 0.5;
    const crossings = [];
    points.forEach(([x0, y0], index) => {
      const [x1, y1] = points[(index + 1) % points.length];
      if (y0 <= middle !== y1 <= middle) crossings.push(x0 + ((middle - y0) / (y1 - y0)) * (x1 - x0));
    });
    crossings.sort((a, b) => a - b);
    for (let at = 0; at + 1 < crossings.length; at += 2) {
      span(y, Math.ceil(crossings[at] - 0.5), Math.ceil(crossings[at + 1] - 0.5));
    }
  }
  points.forEach(([x0, y0], index) => hairline(x0, y0, ...points[(index + 1) % points.length], span));
}

/** The connected region (by edges) around pixel (x, y) of the pixels for which same(index) holds. */
export function flood(x, y, width, height, same, span) {
  const seen = new Uint8Array(width * height);
  const free = (column, row) => !seen[row * width + column] && same(row * width + column);
  const open = [[x, y]];
  while (open.length) {
    const [column, row] = open.pop();
    if (!free(column, row)) continue;
    let left = column;
    let right = column + 1;
    while (left > 0 && free(left - 1, row)) left -= 1;
    while (right < width && free(right, row)) right += 1;
    seen.fill(1, row * width + left, row * width + right);
    span(row, left, right);
    for (const beside of [row - 1, row + 1]) {
      if (beside < 0 || beside >= height) continue;
      for (let at = left; at < right; at += 1) {
        if (free(at, beside) && (at === left || !free(at - 1, beside))) open.push([at, beside]);
      }
    }
  }
}
