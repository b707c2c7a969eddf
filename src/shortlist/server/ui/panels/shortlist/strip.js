// A person's history as a strip of marks: time from left to right, ratings from low to high. A picture of the list
// below it, and therefore hidden from screen readers.

import { h, svg } from "../../dom.js";
import { day, rounded } from "../../format.js";

const HEIGHT = 44;
const EDGE = 4;
const MOST = 500; // marks; of longer histories they are evenly chosen

/** rows: the latest first. Returns null where they have no times, or where there is but one time. */
export function strip(rows, { gone, scale }) {
  const timed = rows.filter((row) => row.timestamp !== undefined);
  const [last, first] = [timed[0]?.timestamp, timed.at(-1)?.timestamp];
  if (timed.length < 2 || first === last) return null;
  const step = Math.max(1, Math.ceil(timed.length / MOST));
  const rated = scale && timed.some((row) => typeof row.rating === "number");
  const x = (row) => 1.5 + ((row.timestamp - first) / (last - first)) * 97;
  const y = (row) => {
    if (!rated || typeof row.rating !== "number") return HEIGHT / 2;
    return HEIGHT - EDGE - ((row.rating - scale[0]) / (scale[1] - scale[0] || 1)) * (HEIGHT - 2 * EDGE);
  };
  const marks = timed
    .filter((_, n) => n % step === 0)
    .map((row) => svg("circle", { class: gone.has(row.item_id) ? "strip-gone" : "strip-mark", cx: `${x(row).toFixed(2)}%`, cy: y(row).toFixed(1), r: rated && typeof row.rating !== "number" ? 1.5 : 2.5 }));
  const low = rated && svg("line", { class: "strip-line", x1: 0, x2: "100%", y1: HEIGHT - EDGE, y2: HEIGHT - EDGE });
  const high = rated && svg("line", { class: "strip-line", x1: 0, x2: "100%", y1: EDGE, y2: EDGE });
  return h(
    "div",
    { class: "strip", "aria-hidden": "true" },
    svg("svg", { width: "100%", height: HEIGHT }, low, high, marks),
    h("div", { class: "strip-ends" }, h("span", {}, day(first)), h("span", {}, rated ? `rated ${rounded(scale[0])} to ${rounded(scale[1])}` : ""), h("span", {}, day(last))),
  );
}
