// A group's mark for the legend: the shape that the canvas draws, as SVG.

import { svg } from "../../dom.js";
import { trace } from "./groups.js";

/** A picture of 18 pixels. */
export function legendMark(group) {
  return svg(
    "svg",
    { class: "map-mark", width: 18, height: 18, "aria-hidden": "true", focusable: "false", style: { "--colour": `var(${group.colour})` } },
    svg("path", { d: path(group) }),
  );
}

// The canvas's own path, written down.
function path(group) {
  const steps = [];
  const pen = {
    moveTo: (x, y) => steps.push(`M${x.toFixed(2)} ${y.toFixed(2)}`),
    lineTo: (x, y) => steps.push(`L${x.toFixed(2)} ${y.toFixed(2)}`),
    closePath: () => steps.push("Z"),
    arc: (x, y, r, from, to, back) => steps.push(`A${r} ${r} 0 1 ${back ? 0 : 1} ${(x - r).toFixed(2)} ${y} A${r} ${r} 0 1 ${back ? 0 : 1} ${(x + r).toFixed(2)} ${y}Z`),
  };
  trace(pen, group.shape, 9, 9, 5.6 * group.size);
  return steps.join("");
}
