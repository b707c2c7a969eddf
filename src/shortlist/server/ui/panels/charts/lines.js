// Lines over a common x: a picture with a table behind it. Each line has its colour, its dashes and a mark of its
// own, and its name in the legend.

import { h, svg } from "../../dom.js";
import { ticks, tickText } from "./intervals.js";

const SIZES = { usual: [340, 190], wide: [680, 260] };
const ROOM = { left: 42, right: 10, top: 10, bottom: 32 };
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 3", "10 4", "4 2 1 2", "3 6"];

/**
 * A figure. x: numbers; wide: for the whole width of a panel; series: [{name, values, strong}], null where there is none; label: of the whole picture;
 * xLabel; logarithmic: of x; best: "least" or "greatest" marks that point of each line; format(value) -> text.
 */
export function lines({ x, series, title, xLabel, logarithmic = false, best = "", wide = false, format }) {
  const place = scales(x, series, logarithmic, SIZES[wide && window.innerWidth >= 600 ? "wide" : "usual"]);
  const marks = ticks(place.low, place.high, 4);
  const picture = svg(
    "svg",
    { class: "evaluation-lines", viewBox: `0 0 ${place.width} ${place.height}`, role: "img", "aria-label": told(title, x, series, format) },
    marks.map((mark) => level(mark, marks, place)),
    xTicks(x, logarithmic).map((mark) => column(mark, place)),
    svg("text", { x: (ROOM.left + place.width - ROOM.right) / 2, y: place.height - 3, "text-anchor": "middle" }, xLabel),
    series.map((one, n) => drawLine(one, n, x, place, best)),
  );
  return h(
    "figure",
    { class: "evaluation-figure" },
    h("figcaption", null, title),
    picture,
    series.length > 1 && legend(series),
    behind(x, series, xLabel, title, format),
  );
}

function scales(x, series, logarithmic, [width, height]) {
  const values = series.flatMap((one) => one.values).filter(Number.isFinite);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least || Math.abs(most) || 1) * 0.08;
  const low = least >= 0 && least - room < 0 ? 0 : least - room;
  const high = most + room;
  const on = (value) => (logarithmic ? Math.log(value) : value);
  const [first, last] = [on(x[0]), on(x.at(-1))];
  return {
    width,
    height,
    low,
    high,
    x: (value) => ROOM.left + ((on(value) - first) / (last - first || 1)) * (width - ROOM.left - ROOM.right),
    y: (value) => height - ROOM.bottom - ((value - low) / (high - low)) * (height - ROOM.top - ROOM.bottom),
  };
}

function xTicks(x, logarithmic) {
  if (logarithmic) return x.filter((value) => /^[125]0*$/.test(String(value)));
  const step = Math.max(1, Math.ceil(x.length / 8));
  return x.filter((_, n) => n % step === 0);
}

function level(mark, marks, place) {
  const y = place.y(mark);
  return [
    svg("line", { class: "evaluation-grid", x1: ROOM.left, x2: place.width - ROOM.right, y1: y, y2: y }),
    svg("text", { x: ROOM.left - 5, y: y + 3.5, "text-anchor": "end" }, tickText(mark, marks)),
  ];
}

function column(mark, place) {
  return svg("text", { x: place.x(mark), y: place.height - ROOM.bottom + 14, "text-anchor": "middle" }, String(mark));
}

function drawLine(one, n, x, place, best) {
  const points = one.values.map((value, at) => [x[at], value]).filter(([, value]) => Number.isFinite(value));
  if (!points.length) return null;
  const pick = best === "least" ? Math.min : Math.max;
  const chosen = best ? points.find(([, value]) => value === pick(...points.map((point) => point[1]))) : null;
  return svg(
    "g",
    { class: one.strong ? "evaluation-series evaluation-series-own" : "evaluation-series", style: { "--colour": colour(one, n) } },
    svg("polyline", {
      points: points.map(([at, value]) => `${place.x(at).toFixed(1)},${place.y(value).toFixed(1)}`).join(" "),
      "stroke-dasharray": one.strong ? null : DASHES[n % DASHES.length] || null,
    }),
    points.length < 2 && svg("circle", { class: "evaluation-point", cx: place.x(points[0][0]), cy: place.y(points[0][1]), r: 3 }),
    chosen && svg("circle", { class: "evaluation-best", cx: place.x(chosen[0]), cy: place.y(chosen[1]), r: 4 }),
  );
}

function colour(one, n) {
  return one.strong ? "var(--accent)" : `var(--c${(n % 8) + 1})`;
}

function legend(series) {
  return h(
    "ul",
    { class: "evaluation-legend" },
    series.map((one, n) =>
      h(
        "li",
        null,
        svg(
          "svg",
          { width: 26, height: 10, "aria-hidden": "true", focusable: "false", class: one.strong ? "evaluation-series evaluation-series-own" : "evaluation-series", style: { "--colour": colour(one, n) } },
          svg("polyline", { points: "1,5 25,5", "stroke-dasharray": one.strong ? null : DASHES[n % DASHES.length] || null }),
        ),
        one.name,
      ),
    ),
  );
}

function told(title, x, series, format) {
  const ends = series.map((one) => {
    const values = one.values.filter(Number.isFinite);
    return values.length ? `${one.name} from ${format(values[0])} to ${format(values.at(-1))}` : one.name;
  });
  return `${title}: ${ends.join("; ")}`;
}

function behind(x, series, xLabel, title, format) {
  return h(
    "details",
    { class: "evaluation-behind" },
    h("summary", null, "As a table"),
    h(
      "div",
      { class: "scroll-x", tabindex: "0", role: "region", "aria-label": `${title}, as a table` },
      h(
        "table",
        { class: "table" },
        h("caption", { class: "visually-hidden" }, title),
        h("thead", null, h("tr", null, h("th", { scope: "col" }, xLabel), series.map((one) => h("th", { scope: "col", class: "number" }, one.name)))),
        h(
          "tbody",
          null,
          x.map((at, n) =>
            h("tr", null, h("th", { scope: "row" }, String(at)), series.map((one) => h("td", { class: "number" }, Number.isFinite(one.values[n]) ? format(one.values[n]) : "–"))),
          ),
        ),
      ),
    ),
  );
}
