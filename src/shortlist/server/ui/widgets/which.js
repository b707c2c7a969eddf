// Of several bundles, which one a view is about: where no user decides it, "By user" in the bar means the first.

import { h } from "../dom.js";

/** A line that says it; null where there is but one. */
export function whichBundle(context) {
  if (context.bundles.length < 2) return null;
  const { side, version } = context.bundle();
  return h("p", { class: "muted small which" }, `Bundle ${side} `, h("span", { class: "mono" }, version), ". The bar above chooses another.");
}
