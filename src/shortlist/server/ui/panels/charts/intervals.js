// Values with their intervals, drawn on one scale: a table whose middle column is a picture, so that the figures
// stand beside what is drawn and nothing is said by colour alone. Roles are spelt out, since rows become grids on
// narrow screens.

import { h, svg } from "../../dom.js";

/**
 * A table of rows, one interval each.
 * rows: [{label, note, value, low, high, strong}], in the order to show; caption; format(value) -> text;
 * zero: a line at 0 and a scale that holds it.
 */
export function intervals(rows, { caption, name = "Name", figure = "Value [interval]", format, zero = false }) {
  const scale = makeScale(rows, zero);
  return h(
    "table",
    { class: "table evaluation-intervals", role: "table" },
    h("caption", null, caption),
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        h("th", { scope: "col", role: "columnheader" }, name),
        h("th", { scope: "col", role: "columnheader", class: "evaluation-drawn" }, h("span", { class: "visually-hidden" }, "Drawn"), axis(scale)),
        h("th", { scope: "col", role: "columnheader", class: "number" }, figure),
      ),
    ),
    h("tbody", { role: "rowgroup" }, rows.map((row) => line(row, scale, format, zero))),
  );
}

/** Round numbers from one value to another, about `count` of them. */
export function ticks(from, to, count = 4) {
  const raw = (to - from) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((by) => by * power).find((by) => by >= raw * 0.999);
  const found = [];
  for (let n = Math.ceil(from / step - 1e-9); n * step <= to + step * 1e-9; n += 1) found.push(n * step);
  return found;
}

/** As few digits as tell the ticks apart. */
export function tickText(value, all) {
  const step = all.length > 1 ? all[1] - all[0] : Math.abs(value) || 1;
  const digits = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
  const more = Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6 ? 1 : 0;
  return value.toFixed(digits + more);
}

function makeScale(rows, zero) {
  const ends = rows.flatMap((row) => [row.low, row.high, row.value]).filter(Number.isFinite);
  let [from, to] = [Math.min(...ends), Math.max(...ends)];
  if (zero || (from >= 0 && from < to * 0.6)) [from, to] = [Math.min(0, from), Math.max(0, to)];
  const room = (to - from || Math.abs(to) || 1) * 0.06;
  [from, to] = [from === 0 ? 0 : from - room, to === 0 ? 0 : to + room];
  return { from, to, at: (value) => `${(2 + (96 * (value - from)) / (to - from)).toFixed(2)}%` };
}

function axis(scale) {
  const marks = ticks(scale.from, scale.to, 3);
  return svg(
    "svg",
    { class: "evaluation-axis", "aria-hidden": "true", focusable: "false" },
    marks.map((mark, n) =>
      svg(
        "text",
        { x: scale.at(mark), y: "80%", "text-anchor": anchor(scale.at(mark), n, marks.length) },
        tickText(mark, marks),
      ),
    ),
  );
}

function anchor(at, n, count) {
  if (n === 0 && parseFloat(at) < 8) return "start";
  return n === count - 1 && parseFloat(at) > 92 ? "end" : "middle";
}

function line(row, scale, format, zero) {
  const drawn = Number.isFinite(row.value);
  const marks = ticks(scale.from, scale.to, 3);
  return h(
    "tr",
    { role: "row", class: row.strong ? "evaluation-own" : null },
    h("th", { scope: "row", role: "rowheader" }, row.label, row.note && h("span", { class: "evaluation-note" }, row.note)),
    h(
      "td",
      { role: "cell", class: "evaluation-drawn" },
      svg(
        "svg",
        { class: "evaluation-mark", "aria-hidden": "true", focusable: "false" },
        marks.map((mark) => svg("line", { class: "evaluation-grid", x1: scale.at(mark), x2: scale.at(mark), y1: 0, y2: "100%" })),
        zero && svg("line", { class: "evaluation-zero", x1: scale.at(0), x2: scale.at(0), y1: 0, y2: "100%" }),
        drawn && Number.isFinite(row.low) && svg("line", { class: "evaluation-span", x1: scale.at(row.low), x2: scale.at(row.high), y1: "50%", y2: "50%" }),
        drawn && dot(row, scale),
      ),
    ),
    h(
      "td",
      { role: "cell", class: "number" },
      drawn ? format(row.value) : "–",
      drawn && Number.isFinite(row.low) && h("span", { class: "evaluation-between" }, ` [${format(row.low)}, ${format(row.high)}]`),
    ),
  );
}

// The model's own value is a filled dot, a baseline's a ring.
function dot(row, scale) {
  return svg("circle", { class: "evaluation-dot", cx: scale.at(row.value), cy: "50%", r: row.strong ? 5.5 : 4.5 });
}
