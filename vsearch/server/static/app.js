// The page: the address says what to show, and every choice changes the address.

import { Adding } from "./adding.js";
import { call, login, needFile, original, post, Refused, send, shownInBrowsers, thumbnail } from "./api.js";
import { Cropper } from "./crop.js";
import { Duplicates } from "./duplicates.js";
import { Grid } from "./grid.js";
import { PhotoMap } from "./map.js";
import { many, Progress } from "./progress.js";
import { filtersOf, isQuery, read, requestOf, resultsKey, viewOf, write } from "./state.js";
import { Viewer } from "./viewer.js";

const byId = (id) => document.getElementById(id);
const [firstPage, nextPages] = [60, 240]; // of the list
const mostLeft = 8;
const mostMatches = 10000;
const mostPictures = 16;
const left = new Map(); // results as they were left, by address: for Back
const sent = new Map(); // uploads of this page, to be sent again when the server has dropped them

let state = read();
let shown = null;
let started = 0;

const say = (text) => (byId("summary").textContent = text);
const grid = new Grid(byId("results"), byId("end"), (what, item) => act(what, item.id), guarded);
const duplicates = new Duplicates(byId("groups"), act, say);
const map = new PhotoMap(act, say);
const viewer = new Viewer(act);
const cropper = new Cropper();
const progress = new Progress(again);
const adding = new Adding(progress, async (text) => {
  await Promise.all([again(), guarded(learnServer)]);
  say(text);
});

// Show the same once more: the photos have changed.
function again() {
  shown = null;
  left.clear();
  return Promise.all([progress.forget(), render()]);
}

function go(change, replace = false) {
  state = { ...state, misread: [], ...change };
  history[replace ? "replaceState" : "pushState"](null, "", write(state));
  return render();
}

// tell(text): says what went wrong, where it can be seen.
async function guarded(work, tell = say) {
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return null;
    if (error instanceof Refused && error.status === 401) return askForToken();
    if (error instanceof Refused && error.word === "picture-dropped") return (await sendAgain()) ? work() : null;
    tell(error.message);
    return null;
  }
}

// The large view is before everything else.
const sayInFront = (text) => (viewer.dialog.open ? viewer.say(text) : say(text));

async function sendAgain() {
  const lost = [...state.image, ...state.minus].filter((name) => name.startsWith("picture:"));
  if (!lost.length || !lost.every((name) => sent.has(name))) {
    say("The picture of this search is no longer on the server. Drop it here again.");
    return false;
  }
  await Promise.all(lost.map((name) => send("pictures", "image", [sent.get(name).file])));
  return true;
}

// -- what is shown -------------------------------------------------------------------------------

async function render(back = false) {
  const focused = document.activeElement !== document.body;
  const same = shown === resultsKey(state);
  if (!same) leave(); // first: what follows moves the photos
  showFilters(back);
  if (state.photo) guarded(() => viewer.open(state.photo), sayInFront);
  else viewer.close();
  if (same) return;
  showPictures();
  shown = resultsKey(state);
  started = performance.now();
  const view = viewOf(state);
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("results").hidden = byId("end").hidden = view !== "photos";
  byId("groups").hidden = view !== "duplicates";
  byId("map").hidden = view !== "map";
  if (back && left.has(shown)) return resume(left.get(shown));
  if (focused && view === "photos") keepFocus();
  scrollTo(0, 0);
  if (state.misread.length) return sayMisread();
  if (view === "duplicates") return guarded(() => duplicates.show(state.under));
  if (view === "map") return guarded(() => map.show(filtersOf(state)));
  say("Searching\u2026");
  const tell = tellOf(state);
  await guarded(() => grid.restart(isQuery(state) ? matches(tell) : listing(tell)), tell);
}

// What comes of one search is told while that search is shown: a slow one says nothing over the next.
const tellOf = (asked) => (text) => shown === resultsKey(asked) && say(text);

// The card or button that had the focus goes: Tab goes on at what comes in its place, not at the top of the page.
function keepFocus() {
  const at = document.activeElement;
  const going = at === document.body || byId("results").contains(at) || !at.checkVisibility();
  if (going) byId("results").focus({ preventScroll: true });
}

function sayMisread() {
  grid.clear(null);
  const parts = state.misread.map((pair) => pair.join("="));
  say(`This address asks for something that is not understood: ${parts.join(", ")}.`);
}

// What is shown is kept for Back: the last few, each as long as somebody scrolled.
function leave() {
  if (shown === null) return;
  const view = viewOf(read(new URL(shown, location).search));
  const kept = view === "photos" ? grid.left() : view === "duplicates" ? duplicates.left() : null;
  left.delete(shown);
  if (kept) left.set(shown, { view, kept, top: scrollY, said: byId("summary").textContent });
  if (left.size > mostLeft) left.delete(left.keys().next().value);
}

function resume({ view, kept, top, said }) {
  say(said);
  (view === "photos" ? grid : duplicates).resume(kept);
  scrollTo(0, top);
}

// Each time the best twice as many, of which those not shown yet come behind the others: the order of the best changes
// with their number, since neighbours rank them. The whole of a long answer costs about twice its last part.
function matches(tell) {
  const asked = state;
  const shown = new Set();
  let [count, more] = [firstPage, true];
  return async () => {
    if (!more) return null;
    const answer = await post("query", requestOf(asked, count));
    if (count === firstPage) tell(foundText(answer));
    more = answer.more && count < mostMatches;
    count = Math.min(count * 2, mostMatches);
    const fresh = answer.matches.filter(({ id }) => !shown.has(id));
    for (const { id } of fresh) shown.add(id);
    return fresh;
  };
}

function foundText({ matches: found, more }) {
  const took = Math.round(performance.now() - started);
  const count = more ? `The ${found.length} best come first` : many(found.length, "photo");
  if (found.length) return `${count} (${took} ms).`;
  return Number(state.min_score)
    ? "No photo is that much like it. Lower the least score, or clear filters."
    : "No photo passes the filters.";
}

function listing(tell) {
  const asked = state;
  let after = "";
  let ended = false;
  return async () => {
    if (ended) return null;
    const options = new URLSearchParams({ newest: "true", limit: after ? nextPages : firstPage, ...filtersOf(asked) });
    if (after) options.set("after", after);
    const counts = !after && !isFiltered(asked) && call("progress");
    const [page, held] = await Promise.all([call(`photos?${options}`), counts]);
    if (held) progress.showing(held); // what comes in from now on is new
    if (!after) tell(held ? heldText(held) : passingText(page));
    after = page.next;
    ended = !page.next;
    return page.photos;
  };
}

const isFiltered = (asked) => Object.keys(filtersOf(asked)).length > 0;

function passingText({ photos, next }) {
  const count = next ? "These photos pass" : photos.length === 1 ? "1 photo passes" : `${photos.length} photos pass`;
  return photos.length ? `${count} the filters, newest first. Pick one to see what looks like it.` : "No photo passes the filters.";
}

function heldText(held) {
  const waiting = held.pending ? `, ${many(held.pending, "change")} being published` : "";
  const failed = held.failed ? `, ${held.failed.toLocaleString()} could not be read` : "";
  return held.photos ? `${many(held.photos, "photo")}${waiting}${failed}. Pick one to see what looks like it.`
    : "The index has no photos yet.";
}

function showPictures() {
  byId("query").hidden = !isQuery(state);
  const pictures = [...state.image.map((name) => [name, "plus"]), ...state.minus.map((name) => [name, "minus"])];
  byId("pictures").replaceChildren(...pictures.map(([name, sign], n) => chip(name, sign, n === 0)));
}

function chip(name, sign, first) {
  const picture = Object.assign(document.createElement("img"), {
    src: shownInBrowsers.has(sent.get(name)?.format) ? sent.get(name).url : thumbnail(name),
    alt: sign === "plus" ? "Like this picture" : "Unlike this picture",
  });
  const row = Object.assign(document.createElement("div"), { className: "row" });
  if (first) row.append(button(state.crop ? "Region chosen" : "Region", () => chooseRegion(name)));
  row.append(button("Remove", () => removePicture(name, sign), `Remove: ${picture.alt}`));
  const made = Object.assign(document.createElement("li"), { className: sign });
  made.append(picture, row);
  return made;
}

function button(text, work, label) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", work);
  return made;
}

// -- what is done --------------------------------------------------------------------------------

function act(what, id) {
  if (what === "similar") return go({ image: [id], minus: [], crop: "", text: "", photo: "", view: "" });
  if (what === "plus") return addPlus(id);
  if (what === "minus") return addMinus(id);
  if (what === "view") return go({ photo: id });
  if (what === "crop") return chooseRegion(id);
  if (what === "close") return closeViewer(id);
  return guarded(() => turn(id, what === "next" ? 1 : -1), sayInFront);
}

// Show the photo beside one in the large view.
async function turn(id, step) {
  if (!shelf().beside(id, step) && step > 0 && shelf() === grid) await grid.fill();
  const other = shelf().beside(id, step);
  return other && go({ photo: other.id }, true);
}

// What the photo in the large view was taken from.
const shelf = () => ({ photos: grid, duplicates, map })[viewOf(state)];

const joined = (names, name) => [...new Set([...names, name])];

function addPlus(id) {
  const image = joined(state.image, id);
  if (image.length > mostPictures) return sayInFront(`There are ${mostPictures} pictures already; remove one first.`);
  return go({ image, photo: "", view: "" });
}

function addMinus(id) {
  if (!isQuery(state)) return sayInFront("Pick a picture to be like first; then others to be unlike.");
  const minus = joined(state.minus, id);
  if (minus.length > mostPictures) return sayInFront(`There are ${mostPictures} pictures to be unlike already; remove one first.`);
  return go({ minus, photo: "", view: "" });
}

function removePicture(name, sign) {
  if (sign === "minus") return go({ minus: state.minus.filter((other) => other !== name) });
  const image = state.image.filter((other) => other !== name);
  return go({ image, minus: image.length || state.text ? state.minus : [], crop: state.image[0] === name ? "" : state.crop });
}

async function closeViewer(id) {
  await go({ photo: "" });
  shelf().focus(id);
}

async function chooseRegion(name) {
  await guarded(async () => {
    const uploaded = name.startsWith("picture:");
    const known = sent.get(name) || (uploaded ? null : (await call(`photos/${name}`)).facts);
    if (!known) return sayInFront("Drop the picture here again to choose a region of it.");
    if (!uploaded) await needFile(name);
    viewer.close();
    const small = thumbnail(name);
    const source = shownInBrowsers.has(known.format) ? known.url || original(name) : small;
    const region = await cropper.choose({ ...known, source, small }, name === state.image[0] ? state.crop : "");
    if (region === null) return render();
    const rest = name === state.image[0] ? {} : { image: [name], minus: [], text: "" };
    return go({ ...rest, crop: region, photo: "", view: "" });
  }, sayInFront);
}

async function searchBy(files) {
  const pictures = [...files].filter((file) => file.size).slice(0, mostPictures);
  if (!pictures.length) return say("That is no picture.");
  say("Sending\u2026");
  await guarded(async () => {
    const names = [];
    for (const file of pictures) {
      const answer = await send("pictures", "image", [file]);
      const url = sent.get(answer.picture)?.url || URL.createObjectURL(file);
      sent.set(answer.picture, { ...answer, file, url });
      names.push(answer.picture);
    }
    return go({ image: names, minus: [], crop: "", text: "", photo: "", view: "" });
  });
}

// -- filters -------------------------------------------------------------------------------------

// all: also the field that somebody may be typing in.
function showFilters(all = false) {
  const form = byId("filters");
  for (const field of form.querySelectorAll("[name]")) {
    if (field.name === "shown" || (!all && document.activeElement === field)) continue;
    field.value = state[field.name] || (field.type === "range" ? "0" : "");
  }
  form.elements.shown.value = Number(form.elements.min_score.value) || "any";
  byId("text").value = state.text;
  const set = [...Object.keys(filtersOf(state)), ...(state.min_score ? ["score"] : [])].length;
  byId("filter-button").textContent = set ? `Filters (${set})` : "Filters";
}

// One field, or all of them: what the address says and no field can show (since=2022-01) stays when another is changed.
function readFilters({ type, target }) {
  const fields = type === "change" ? [target] : byId("filters").querySelectorAll("[name]");
  const change = {};
  for (const field of fields) if (field.name !== "shown") change[field.name] = field.value;
  if (change.min_score && !Number(change.min_score)) change.min_score = "";
  return go(change);
}

async function learnServer() {
  const server = await call("server");
  byId("ask").hidden = !server.text;
  adding.learn(server);
  const cameras = byId("filters").elements.camera;
  cameras.length = 1; // "any"
  for (const [name, count] of Object.entries(server.cameras)) cameras.add(new Option(`${name} (${count})`, name));
  showFilters(); // the camera of the address is among them only now
  byId("footer").textContent = `vsearch ${server.version}`;
}

function askForToken() {
  byId("login-error").textContent = "";
  if (!byId("login").open) byId("login").showModal();
  return null;
}

async function enter(event) {
  event.preventDefault();
  try {
    await login(byId("token").value);
  } catch (error) {
    byId("login-error").textContent = error.message;
    return;
  }
  byId("token").value = "";
  byId("login").close();
  shown = null;
  await begin();
}

// -- beginning -----------------------------------------------------------------------------------

async function begin() {
  await Promise.all([guarded(learnServer), render(), progress.ask()]);
}

function listen() {
  addEventListener("popstate", () => {
    state = read();
    render(true);
  });
  history.scrollRestoration = "manual"; // the results come later than the browser scrolls
  for (const id of ["file", "take"]) {
    byId(id).addEventListener("change", (event) => searchBy(event.target.files).finally(() => (event.target.value = "")));
  }
  addEventListener("paste", (event) => event.clipboardData?.files.length && searchBy(event.clipboardData.files));
  const dragged = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!dragged(event)) return;
    event.preventDefault();
    byId("drop").hidden = false;
  });
  addEventListener("dragleave", (event) => event.relatedTarget || (byId("drop").hidden = true));
  addEventListener("drop", (event) => {
    if (!dragged(event)) return;
    event.preventDefault();
    byId("drop").hidden = true;
    if (byId("adding").open) adding.add([...event.dataTransfer.files]);
    else searchBy(event.dataTransfer.files);
  });
  byId("clear").addEventListener("click", () => go({ image: [], minus: [], crop: "", text: "" }));
  for (const link of document.querySelectorAll("[data-view]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      go({ ...read(""), view: link.dataset.view === "photos" ? "" : link.dataset.view });
    });
  }
  byId("home").addEventListener("click", (event) => {
    event.preventDefault();
    go({ ...read(""), photo: "" });
  });
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    go({ text: byId("text").value.trim(), photo: "", view: "" });
  });
  byId("filter-button").addEventListener("click", (event) => {
    byId("filters").hidden = !byId("filters").hidden;
    event.target.setAttribute("aria-expanded", String(!byId("filters").hidden));
  });
  byId("filters").addEventListener("change", readFilters);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", (event) => setTimeout(readFilters, 0, event));
  byId("login-form").addEventListener("submit", enter);
  byId("login").addEventListener("cancel", (event) => event.preventDefault());
}

listen();
begin();
