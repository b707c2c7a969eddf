// What a figure of the evaluation means, in plain words.

const RANKED = /^(filtered|raw) (\w+)@(\d+) \((row|user)\)$/;

/** "filtered ndcg@10 (user)" -> a sentence or three; "" for a figure that is not known here. */
export function inWords(name) {
  if (name === "rmse") return "How far predicted ratings are from those people gave, in steps of the scale; large misses count more.";
  if (name === "mae") return "How far predicted ratings are from those people gave, on average, in steps of the scale.";
  const [, seen, figure, k, over] = RANKED.exec(name) ?? [];
  const told = MEANING[figure]?.(k, over === "row");
  if (!told) return "";
  const left = seen === "filtered" ? "Items a user had in training are removed from the list." : "Items a user had in training stay in the list.";
  const mean = over === "row" ? "The mean over held-out rows." : "The mean over users.";
  return `${told} ${mean} ${left}`;
}

const MEANING = {
  hit_rate: (k, row) => (row ? `How often the held-out item is among the first ${k}.` : `How often at least one of a user’s held-out items is among the first ${k}.`),
  recall: (k) => `The share of a user’s held-out items that is among the first ${k}.`,
  precision: (k) => `The share of the first ${k} that is held-out items of the user.`,
  ndcg: (k, row) => `How near the top the first ${k} have ${row ? "the held-out item" : "a user’s held-out items"}: 1 is all of them first, 0 is none at all.`,
  mrr: (k, row) => `One divided by the place of ${row ? "the held-out item" : "the first held-out item"}: 1 is at the top, 0.1 is tenth; beyond ${k} it is 0.`,
};
