// What is shown is what the address says: reading and writing it is all the state there is.

const lists = ["image", "minus"];
const words = ["text", "since", "until", "under", "camera", "min_score", "crop", "view", "photo"];

export function read(search = location.search) {
  const given = new URLSearchParams(search);
  const state = {};
  for (const name of lists) state[name] = given.getAll(name);
  for (const name of words) state[name] = given.get(name) || "";
  return state;
}

export function write(state) {
  const given = new URLSearchParams();
  for (const name of lists) for (const value of state[name] || []) given.append(name, value);
  for (const name of words) if (state[name]) given.append(name, state[name]);
  const text = given.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
  return text ? `/?${text}` : "/";
}

export const isQuery = (state) => state.image.length > 0 || state.text !== "";

const views = new Set(["duplicates", "map"]);
export const viewOf = (state) => (views.has(state.view) ? state.view : "photos");

// Everything but which photo is open in the large view.
export const resultsKey = (state) => write({ ...state, photo: "" });

const filters = ["since", "until", "under"];

export function filtersOf(state) {
  const given = Object.fromEntries(filters.filter((name) => state[name]).map((name) => [name, state[name]]));
  const quote = state.camera.includes('"') ? "'" : '"';
  if (state.camera) given.where = `camera = ${quote}${state.camera}${quote}`;
  return given;
}

export function requestOf(state, k, offset) {
  const request = { images: state.image, minus: state.minus, k, offset, ...filtersOf(state) };
  if (state.text) request.text = state.text;
  if (state.crop) request.crop = state.crop.split(",").map(Number);
  if (Number(state.min_score)) request.min_score = Number(state.min_score);
  return request;
}
