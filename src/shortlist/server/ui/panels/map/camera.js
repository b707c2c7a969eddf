// Where points stand on a canvas: the whole map at first, then what a person zoomed and moved to.

const MOST = 60; // times nearer than the whole map
const EDGE = 18; // pixels around the points

/** A camera over points {x, y} (arrays). `size(width, height)` first, in CSS pixels. */
export function createCamera(points) {
  const box = bounds(points);
  let [width, height, zoom, cx, cy] = [1, 1, 1, (box.left + box.right) / 2, (box.top + box.bottom) / 2];

  // Both axes have one scale: distances on the map are distances of the projection.
  const scale = () => {
    const [wide, high] = [box.right - box.left || 1, box.bottom - box.top || 1];
    return zoom * Math.min((width - 2 * EDGE) / wide, (height - 2 * EDGE) / high);
  };
  const hold = () => {
    cx = Math.min(Math.max(cx, box.left), box.right);
    cy = Math.min(Math.max(cy, box.top), box.bottom);
  };

  return {
    get zoom() {
      return zoom;
    },
    size(wide, high) {
      [width, height] = [Math.max(1, wide), Math.max(1, high)];
    },
    place: (x, y) => [width / 2 + (x - cx) * scale(), height / 2 - (y - cy) * scale()],
    /** Zoom by a factor around a pixel, the middle if there is none. */
    zoomBy(factor, px = width / 2, py = height / 2) {
      const before = [cx + (px - width / 2) / scale(), cy - (py - height / 2) / scale()];
      zoom = Math.min(MOST, Math.max(1, zoom * factor));
      cx = before[0] - (px - width / 2) / scale();
      cy = before[1] + (py - height / 2) / scale();
      hold();
    },
    moveBy(dx, dy) {
      cx -= dx / scale();
      cy += dy / scale();
      hold();
    },
    /** A point to the middle; at least so near. */
    lookAt(x, y, near = 1) {
      [cx, cy, zoom] = [x, y, Math.max(zoom, near)];
      hold();
    },
    middle: () => [width / 2, height / 2],
    reset() {
      [zoom, cx, cy] = [1, (box.left + box.right) / 2, (box.top + box.bottom) / 2];
    },
    sees(x, y, room = 0) {
      const [px, py] = this.place(x, y);
      return px >= room && py >= room && px <= width - room && py <= height - room;
    },
  };
}

/** The index of the point nearest to a pixel, no further than `reach`; -1: none. shown(n): whether it counts. */
export function nearest(points, camera, px, py, reach, shown) {
  let [best, least] = [-1, reach * reach];
  for (let n = 0; n < points.x.length; n += 1) {
    if (!shown(n)) continue;
    const [x, y] = camera.place(points.x[n], points.y[n]);
    const far = (x - px) ** 2 + (y - py) ** 2;
    if (far <= least) [best, least] = [n, far];
  }
  return best;
}

/** The next point from `from` on in a direction ("ArrowLeft", ...): near, and rather ahead than aside; -1: none. */
export function towards(points, camera, from, key, shown) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  const [ox, oy] = camera.place(points.x[from], points.y[from]);
  let [best, least] = [-1, Infinity];
  for (let n = 0; n < points.x.length; n += 1) {
    if (n === from || !shown(n)) continue;
    const [x, y] = camera.place(points.x[n], points.y[n]);
    const ahead = (x - ox) * dx + (y - oy) * dy;
    const aside = Math.abs((x - ox) * dy - (y - oy) * dx);
    if (ahead <= 0.5 || aside > 2 * ahead) continue;
    const far = ahead + 2 * aside;
    if (far < least) [best, least] = [n, far];
  }
  return best;
}

function bounds(points) {
  const ends = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const [left, right] = ends(points.x);
  const [top, bottom] = ends(points.y);
  return { left, right, top, bottom };
}
