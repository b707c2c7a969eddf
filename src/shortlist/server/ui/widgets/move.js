// How far an item moves between two lists. The sign means the same in every view: "▲ 3" is three places better.

import { h } from "../dom.js";

/** places: how many it goes up; below zero: down; 0: it stays. */
export function moved(places) {
  if (places === 0) return [h("span", { class: "move-none", "aria-hidden": "true" }, "="), h("span", { class: "visually-hidden" }, ", no change")];
  const up = places > 0;
  const far = Math.abs(places);
  return [
    h("span", { class: up ? "move-up" : "move-down", "aria-hidden": "true" }, `${up ? "▲" : "▼"} ${far}`),
    h("span", { class: "visually-hidden" }, `, ${up ? "up" : "down"} ${far}`),
  ];
}
