// To come.

import { h } from "../dom.js";

export const title = "Shortlist";

export async function mount(element) {
  element.append(h("p", { class: "panel" }, "This view is being made."));
}
