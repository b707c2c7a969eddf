// Recommends from a Shortlist bundle: node recommend.mjs BUNDLE --user 42 -k 10
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pathToFileURL } from "node:url";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { MISSING_INT, openBundle } from "./bundle.mjs";
import { derived, eventsOf } from "./past.mjs";

/** A function from a user's id to that user's k items, best first. */
export async function load(path) {
  const bundle = openBundle(path);
  const { left_out: reason } = bundle.manifest.recommend ?? {};
  if (reason) throw new Error(`${bundle.folder} has no recommend.onnx: ${reason}`);
  const session = await InferenceSession.create(join(bundle.folder, "recommend.onnx"));
  return async (user, { k = 10, ...given } = {}) => {
    const feeds = inputs(bundle, session.inputNames, { ...given, user_id: user });
    feeds.k = new Tensor("int64", [BigInt(k)], [1]);
    const answer = await session.run(feeds);
    const names = session.outputNames;
    const rows = Array.from(answer.item_id.data, (_, rank) =>
      Object.fromEntries(names.map((name) => [name, answer[name].data[rank]])),
    );
    return rows.filter((row) => row.item_id !== "");
  };
}

/** The graph's inputs for one user, from what is given and what the bundle holds. */
function inputs(bundle, names, given) {
  const row = bundle.users.get(given.user_id) ?? -1;
  const timestamp = given.timestamp ?? stored(bundle, "timestamp", row) ?? bundle.asOf ?? undefined;
  const time = timestamp === undefined ? 2n ** 62n - 1n : BigInt(timestamp); // else after all there is
  const { query, sizes } = bundle.manifest.schema;
  const feeds = {};
  for (const name of names.filter((n) => n !== "k")) {
    if (name === "exclude") {
      feeds[name] = tensor("strings", seen(bundle, row));
    } else if (name === "bonus") {
      const everything = bundle.manifest.pipeline.seen_as_of === "leave-one-out";
      const had = new Set(eventsOf(bundle, row, time, everything).map((place) => bundle.past.items[place]));
      feeds[name] = tensor("strings", Array.from(had, (position) => bundle.items[position]));
    } else if (name in query) {
      const known = { ...given, timestamp }[name] ?? derived(bundle, name, row, time, sizes[name]);
      feeds[name] = tensor(query[name], known ?? stored(bundle, name, row), sizes[name]);
    } else {
      throw new Error(`this example cannot make the input ${name} of ${bundle.folder}`);
    }
  }
  return feeds;
}

/** The ids of what a user took in the training rows. */
function seen({ seen: { indptr, indices }, items }, row) {
  if (row < 0) return [];
  const positions = indices.subarray(Number(indptr[row]), Number(indptr[row + 1]));
  return Array.from(positions, (position) => items[position]);
}

/** A stored column's value of a user; undefined where there is none. */
function stored({ columns }, name, row) {
  const column = columns[name];
  if (column === undefined || row < 0) return undefined;
  if (Array.isArray(column)) return column[row];
  const { data, shape } = column;
  if (shape.length > 1) return data.subarray(row * shape[1], (row + 1) * shape[1]);
  return data[row] === MISSING_INT || Number.isNaN(data[row]) ? undefined : data[row];
}

/** One row's value as a tensor of a column's type; what is missing as the model knows it. */
function tensor(type, value, size = 1) {
  switch (type) {
    case "string":
      return new Tensor("string", [value ?? ""], [1]);
    case "int":
      return new Tensor("int64", [BigInt(value ?? MISSING_INT)], [1]);
    case "float":
      return new Tensor("float64", [Number(value ?? NaN)], [1]);
    case "vector":
      return new Tensor("float32", value ?? new Float32Array(size).fill(NaN), [1, size]);
    case "strings":
      return list("string", value, "");
    case "ints":
      return list("int64", value, MISSING_INT);
    case "floats":
      return list("float64", value, NaN);
  }
  throw new Error(`a column of the unknown type ${type}`);
}

function list(type, values, missing) {
  const filled = values?.length ? values : [missing];
  return new Tensor(type, filled, [1, filled.length]);
}

const USAGE = "usage: node recommend.mjs BUNDLE --user ID [--user ID] [-k 10] [--timestamp SECONDS] [--json]";

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      user: { type: "string", multiple: true },
      k: { type: "string", short: "k", default: "10" },
      timestamp: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  if (positionals.length !== 1 || !values.user) {
    console.error(USAGE);
    process.exit(2);
  }
  const recommend = await load(positionals[0]);
  const given = values.timestamp === undefined ? {} : { timestamp: BigInt(values.timestamp) };
  for (const user of values.user) {
    const rows = await recommend(user, { k: Number(values.k), ...given });
    if (values.json) {
      console.log(JSON.stringify({ user_id: user, items: rows }));
    } else {
      rows.forEach((row, rank) => console.log([user, rank + 1, row.item_id, row.score.toFixed(4)].join("\t")));
    }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await main();
  } catch (error) {
    console.error(`error: ${error.message}`);
    process.exit(1);
  }
}
