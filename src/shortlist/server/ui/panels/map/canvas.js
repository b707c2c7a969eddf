// The canvas of the map: draws the points, follows pointer, wheel and keyboard, and says which point is looked at.

import { h, token } from "../../dom.js";
import { createCamera, nearest, towards } from "./camera.js";
import { trace } from "./groups.js";

const REACH = 14; // pixels from a point at which it is meant
const KEYS = "Arrow keys go from item to item, plus and minus zoom, Shift and arrow keys move the map, 0 shows all of it, Enter opens the item.";

/**
 * points: {ids, names, x, y}; tell(n): a point is looked at, -1 none, spoken: by keyboard; open(n).
 * Returns {element, paint(groups, hidden), look(n), stop()}.
 */
export function createCanvas(points, { label, tell, open, moved }) {
  const camera = createCamera(points);
  const canvas = h("canvas", { class: "map-canvas", tabindex: "0", role: "application", "aria-roledescription": "map of items", "aria-label": `${label}. ${KEYS}` });
  const frame = h("div", { class: "map-frame" }, canvas);
  const state = { groups: null, hidden: new Set(), at: -1, asked: 0 };
  const shown = (n) => !state.groups || !state.hidden.has(state.groups.of[n]);

  const later = () => {
    if (!state.asked) state.asked = requestAnimationFrame(draw);
  };
  const changed = () => {
    later();
    moved(camera);
  };

  function draw() {
    state.asked = 0;
    const box = { width: frame.clientWidth, height: frame.clientHeight };
    if (!box.width || !state.groups) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [wide, high] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    camera.size(box.width, box.height);
    const ink = canvas.getContext("2d");
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.clearRect(0, 0, box.width, box.height);
    drawPoints(ink, box);
    if (state.at >= 0) drawLooked(ink);
    const [x, y] = state.at >= 0 ? camera.place(points.x[state.at], points.y[state.at]) : [NaN, NaN];
    tell(state.at, { x, y, width: box.width, height: box.height });
  }

  function drawPoints(ink, box) {
    const r = 3.1 * Math.min(2.2, camera.zoom ** 0.3);
    const paths = state.groups.groups.map(() => new Path2D());
    for (let n = 0; n < points.x.length; n += 1) {
      if (!shown(n)) continue;
      const [x, y] = camera.place(points.x[n], points.y[n]);
      if (x < -9 || y < -9 || x > box.width + 9 || y > box.height + 9) continue;
      const group = state.groups.of[n] ?? 0;
      trace(paths[group], state.groups.groups[group].shape, x, y, r * state.groups.groups[group].size);
    }
    ink.lineWidth = 0.8;
    ink.strokeStyle = token("--raised");
    // The last groups are the rarest, but for "other", which lies below all.
    const order = paths.map((_, n) => n).sort((one, other) => rank(state.groups.groups[one]) - rank(state.groups.groups[other]));
    for (const n of order) {
      ink.fillStyle = token(state.groups.groups[n].colour);
      ink.globalAlpha = 0.88;
      ink.fill(paths[n]);
      ink.globalAlpha = 1;
      ink.stroke(paths[n]);
    }
  }

  function drawLooked(ink) {
    const [x, y] = camera.place(points.x[state.at], points.y[state.at]);
    for (const [radius, colour, width] of [[11, "--raised", 5], [11, "--ink", 2]]) {
      ink.beginPath();
      ink.arc(x, y, radius, 0, 2 * Math.PI);
      ink.lineWidth = width;
      ink.strokeStyle = token(colour);
      ink.stroke();
    }
  }

  function look(n, { near = 0, spoken = false } = {}) {
    state.at = n;
    if (n >= 0 && (near || (spoken && !camera.sees(points.x[n], points.y[n], 12)))) {
      camera.lookAt(points.x[n], points.y[n], near || 1);
      moved(camera);
    }
    later();
    if (spoken && n >= 0) tell(n, null);
  }

  // -- by keyboard

  const first = () => {
    return nearest(points, camera, ...camera.middle(), Infinity, shown);
  };

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = event.key.startsWith("Arrow");
    if (arrow && event.shiftKey) camera.moveBy(...{ ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key]);
    else if (arrow) {
      const next = state.at < 0 ? first() : towards(points, camera, state.at, event.key, shown);
      if (next >= 0) look(next, { spoken: true });
    } else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0" || event.key === "Home") camera.reset();
    else if (event.key === "Escape") state.at = -1;
    else if (event.key === "Enter" && state.at >= 0) open(state.at);
    else return;
    event.preventDefault();
    changed();
  }

  function zoom(factor) {
    if (state.at >= 0) camera.zoomBy(factor, ...camera.place(points.x[state.at], points.y[state.at]));
    else camera.zoomBy(factor);
    changed();
  }

  // -- by pointer: one moves, two zoom, a tap looks

  const touching = new Map();
  let [travelled, apart] = [0, 0];
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const gap = () => {
    const [one, other] = [...touching.values()];
    return Math.hypot(one[0] - other[0], one[1] - other[1]);
  };
  const under = (event) => nearest(points, camera, ...at(event), event.pointerType === "touch" ? 2 * REACH : REACH, shown);

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    touching.set(event.pointerId, at(event));
    travelled = 0;
    if (touching.size === 2) apart = gap();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!touching.has(event.pointerId)) {
      if (event.pointerType === "mouse") look(under(event));
      return;
    }
    const [before, now] = [touching.get(event.pointerId), at(event)];
    touching.set(event.pointerId, now);
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (touching.size === 2 && apart > 0) {
      camera.zoomBy(gap() / apart, ...now);
      apart = gap();
    } else if (travelled > 4) camera.moveBy(now[0] - before[0], now[1] - before[1]);
    changed();
  });
  const lift = (event) => {
    if (!touching.delete(event.pointerId) || event.type !== "pointerup" || travelled > 4) return;
    const found = under(event);
    if (found >= 0 && found === state.at && event.pointerType === "mouse") open(found);
    else look(found, { spoken: found >= 0 });
  };
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, lift);
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && document.activeElement !== canvas) look(-1);
  });
  canvas.addEventListener("keydown", press);
  // The wheel zooms once the map was chosen; before, it moves the page.
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    camera.zoomBy(Math.exp(-event.deltaY * 0.0015), ...at(event));
    changed();
  }, { passive: false });

  const watch = new ResizeObserver(later);
  watch.observe(frame);
  window.addEventListener("themechange", later);

  return {
    element: frame,
    canvas,
    camera,
    zoom,
    look,
    reset() {
      camera.reset();
      changed();
    },
    paint(groups, hidden) {
      Object.assign(state, { groups, hidden });
      if (state.at >= 0 && !shown(state.at)) state.at = -1;
      later();
    },
    stop() {
      watch.disconnect();
      window.removeEventListener("themechange", later);
      cancelAnimationFrame(state.asked);
    },
  };
}

function rank(group) {
  return group.colour === "--c-other" ? -1 : 0;
}
