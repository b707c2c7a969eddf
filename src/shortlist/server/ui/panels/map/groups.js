// How points are told apart by a column's values: the most frequent values have a colour and a shape each, numbers a
// step of one scale. A colour never stands alone: each group has its own shape, or its own size.

export const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "drop", "plus", "ring"];
const MOST = 8;
const STEPS = 5;

/**
 * Groups of points. Returns {of, groups, kind}: of[n] is the group of point n, groups are
 * {label, colour (a token), shape, size, count}.
 */
export function makeGroups(values, kind) {
  if (!values || !kind) {
    return { of: [], kind: "", groups: [{ label: "Items", colour: "--c1", shape: "circle", size: 1, count: 0 }] };
  }
  return kind === "number" || kind === "time" ? steps(values, kind) : categories(values, kind);
}

function categories(values, kind) {
  const counts = new Map();
  for (const value of values) for (const one of listed(value)) counts.set(one, (counts.get(one) ?? 0) + 1);
  const named = [...counts.entries()].sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1)).slice(0, MOST).map(([label]) => label);
  const index = new Map(named.map((label, n) => [label, n]));
  // Of several values an item belongs to the rarest that has a colour: it says the most.
  const of = values.map((value) => {
    const found = listed(value).map((one) => index.get(one)).filter((n) => n !== undefined);
    return found.length ? Math.max(...found) : named.length;
  });
  const groups = named.map((label, n) => ({ label, colour: `--c${n + 1}`, shape: SHAPES[n], size: 1, count: 0 }));
  if (of.includes(named.length)) groups.push({ label: counts.size > MOST ? "other" : "none", colour: "--c-other", shape: "circle", size: 0.7, count: 0 });
  for (const n of of) groups[n].count += 1;
  return { of, groups, kind };
}

function steps(values, kind) {
  const known = values.filter(Number.isFinite).sort((one, other) => one - other);
  const text = kind === "time" ? (value) => new Date(value * 1000).toISOString().slice(0, 10) : (value) => String(Number(value.toPrecision(4)));
  const cuts = [...new Set(Array.from({ length: STEPS - 1 }, (_, n) => known[Math.floor(((n + 1) * known.length) / STEPS)]))].filter((cut) => cut > known[0]);
  const step = (value) => cuts.filter((cut) => value >= cut).length;
  const spread = cuts.length ? (STEPS - 1) / cuts.length : 0;
  const groups = Array.from({ length: known.length ? cuts.length + 1 : 0 }, (_, n) => {
    const own = known.filter((value) => step(value) === n);
    const label = own[0] === own.at(-1) ? text(own[0]) : `${text(own[0])} to ${text(own.at(-1))}`;
    return { label, colour: `--s${Math.round(n * spread)}`, shape: "circle", size: 0.8 + 0.15 * n, count: 0 };
  });
  const none = groups.length;
  const of = values.map((value) => (Number.isFinite(value) ? step(value) : none));
  if (of.includes(none)) groups.push({ label: "none", colour: "--c-other", shape: "cross", size: 0.8, count: 0 });
  for (const n of of) groups[n].count += 1;
  return { of, groups, kind };
}

function listed(value) {
  if (value === null || value === undefined || value === "") return [];
  return (Array.isArray(value) ? value : [value]).map((one) => (typeof one === "boolean" ? (one ? "yes" : "no") : String(one)));
}

/** A shape as a path around (x, y), for canvases and the legend alike. */
export function trace(path, shape, x, y, r) {
  if (shape === "circle" || shape === "ring") {
    path.moveTo(x + r, y);
    path.arc(x, y, r, 0, 2 * Math.PI);
    if (shape === "ring") {
      path.moveTo(x + r * 0.45, y);
      path.arc(x, y, r * 0.45, 0, 2 * Math.PI, true);
    }
    return;
  }
  const corners = CORNERS[shape];
  path.moveTo(x + corners[0][0] * r, y + corners[0][1] * r);
  for (const [dx, dy] of corners.slice(1)) path.lineTo(x + dx * r, y + dy * r);
  path.closePath();
}

const T = 0.4; // half the width of a bar
const PLUS = [[-T, -1.1], [T, -1.1], [T, -T], [1.1, -T], [1.1, T], [T, T], [T, 1.1], [-T, 1.1], [-T, T], [-1.1, T], [-1.1, -T], [-T, -T]];
const CORNERS = {
  square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
  triangle: [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]],
  diamond: [[0, -1.3], [1, 0], [0, 1.3], [-1, 0]],
  plus: PLUS,
  cross: PLUS.map(([x, y]) => [(x - y) * Math.SQRT1_2, (x + y) * Math.SQRT1_2]),
  drop: [[0, 1.2], [1.1, -0.8], [-1.1, -0.8]],
};
