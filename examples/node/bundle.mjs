// What a Shortlist bundle holds of items and users, read with nothing but Node.js.
import { readFileSync, existsSync } from "node:fs";
import { join } from "node:path";

export const MISSING_INT = -(2n ** 63n); // the smallest int64 stands for a missing whole number
const NUMBERS = { i8: BigInt64Array, i4: Int32Array, f8: Float64Array, f4: Float32Array, b1: Uint8Array };

/** The numbers of a .npy file, as {data, shape}: rows one after the other. */
export function readArray(path) {
  const file = readFileSync(path);
  if (file.toString("latin1", 1, 6) !== "NUMPY") throw new Error(`${path} is no .npy file`);
  const [length, begin] = file[6] === 1 ? [file.readUInt16LE(8), 10] : [file.readUInt32LE(8), 12];
  const header = file.toString("latin1", begin, begin + length);
  const [, type] = header.match(/'descr': '[<|](\w+)'/) ?? [];
  const [, sizes] = header.match(/'fortran_order': False.*'shape': \(([^)]*)\)/) ?? [];
  if (!(type in NUMBERS) || sizes === undefined) throw new Error(`${path}: cannot read ${header.trim()}`);
  const start = file.byteOffset + begin + length;
  const bytes = file.buffer.slice(start, file.byteOffset + file.length); // a copy starts where numbers may
  return { data: new NUMBERS[type](bytes), shape: sizes.split(",").filter((n) => n.trim()).map(Number) };
}

const readJson = (path) => JSON.parse(readFileSync(path, "utf-8"));

/** Columns by name: texts as arrays, numbers as readArray gives them. */
function readColumns(folder) {
  const listed = readJson(join(folder, "columns.json"));
  return Object.fromEntries(
    listed.map((column) => [column.name, column.text ?? readArray(join(folder, column.file))]),
  );
}

/** Everything but the graph. Of a run's folder, the bundle in it. */
export function openBundle(path) {
  const folder = existsSync(join(path, "manifest.json")) ? path : join(path, "bundle");
  if (!existsSync(join(folder, "manifest.json"))) {
    throw new Error(`${path} is no bundle: there is no manifest.json in it, nor in ${folder}`);
  }
  const manifest = readJson(join(folder, "manifest.json"));
  const users = join(folder, "users");
  const array = (name) => readArray(join(users, name)).data;
  return {
    folder,
    manifest,
    items: readJson(join(folder, "items", "ids.json")),
    users: new Map(readJson(join(users, "ids.json")).map((id, row) => [id, row])),
    columns: readColumns(join(users, "columns")),
    asOf: readJson(join(users, "as_of.json")),
    seen: { indptr: array("seen_indptr.npy"), indices: array("seen_indices.npy") },
    past: existsSync(join(users, "past")) ? readPast(join(users, "past")) : null,
  };
}

/** What users did: user u's events are those from indptr[u] to indptr[u + 1], by time. */
function readPast(folder) {
  const array = (name) => readArray(join(folder, `${name}.npy`)).data;
  const about = readJson(join(folder, "about.json"));
  const ratings = about.rated ? array("ratings") : null;
  return { ...about, indptr: array("indptr"), items: array("items"), times: array("times"), ratings };
}
