// What is shown is what the address says: reading and writing it is all the state there is.

const lists = ["image", "minus"];
const words = ["text", "since", "until", "under", "camera", "min_score", "crop", "view", "photo"];

const picture = /^(\d{1,40}|picture:[0-9a-f]{64})$/;
const forms = {
  image: picture,
  minus: picture,
  photo: /^\d{1,40}$/,
  crop: /^\d{1,6}(,\d{1,6}){3}$/,
  min_score: /^-?(0|1|1\.0+|0?\.\d+)$/,
};
const fits = (name, value) => !forms[name] || forms[name].test(value);

// `misread`: the [name, value] pairs that mean nothing.
export function read(search = location.search) {
  const given = new URLSearchParams(search);
  const state = { misread: [] };
  const understood = (name, value) => fits(name, value) || !state.misread.push([name, value]);
  for (const name of lists) state[name] = given.getAll(name).filter((value) => understood(name, value));
  for (const name of words) {
    const value = given.get(name) || "";
    state[name] = value && understood(name, value) ? value : "";
  }
  return state;
}

export function write(state) {
  const given = new URLSearchParams();
  for (const name of lists) for (const value of state[name] || []) given.append(name, value);
  for (const name of words) if (state[name]) given.append(name, state[name]);
  for (const [name, value] of state.misread) given.append(name, value);
  const text = given.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
  return text ? `/?${text}` : "/";
}

export const isQuery = (state) => state.image.length > 0 || state.text !== "";

const views = new Set(["duplicates", "map"]);
export const viewOf = (state) => (views.has(state.view) && !state.misread.length ? state.view : "photos");

// Everything but which photo is open in the large view.
export const resultsKey = (state) => write({ ...state, photo: "" });

const filters = ["since", "until", "under"];

export function filtersOf(state) {
  const given = Object.fromEntries(filters.filter((name) => state[name]).map((name) => [name, state[name]]));
  const quote = state.camera.includes('"') ? "'" : '"';
  if (state.camera) given.where = `camera = ${quote}${state.camera}${quote}`;
  return given;
}

export function requestOf(state, k) {
  const request = { images: state.image, minus: state.minus, k, ...filtersOf(state) };
  if (state.text) request.text = state.text;
  if (state.crop) request.crop = state.crop.split(",").map(Number);
  if (Number(state.min_score)) request.min_score = Number(state.min_score);
  return request;
}
