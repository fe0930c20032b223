// The map view: the canvas of plane.js with the server's thumbnails, fetched for what is in sight, a few at a time.

import { call, thumbnail } from "./api.js";
import { nameOf } from "./grid.js";
import { Plane } from "./plane.js";
import { many } from "./progress.js";

const byId = (id) => document.getElementById(id);
const least = 12; // CSS pixels from which on a photo is more than a dot
const most = 1000; // photos in sight; where there are more, they stay dots
const atOnce = 6;
const kept = 2000;
const [side, small] = [128, 32]; // pixels of the two squares that are kept of each

export class PhotoMap {
  constructor(act, say) {
    [this.act, this.say] = [act, say];
    this.pictures = new Map(); // number of a photo: its squares, or null while it is fetched
    this.wanted = [];
    this.fetching = 0;
    byId("map-in").addEventListener("click", () => this.plane?.zoomBy(1.6));
    byId("map-out").addEventListener("click", () => this.plane?.zoomBy(1 / 1.6));
    byId("map-all").addEventListener("click", () => this.plane?.all());
  }

  // filters: as the API has them.
  async show(filters) {
    this.say(this.plane ? "Placing the photos\u2026" : "Placing the photos; the first time this takes a while\u2026");
    const found = await call(`map?${new URLSearchParams(filters)}`);
    if (byId("map").hidden) return; // another view was chosen meanwhile
    const text = JSON.stringify(found.ids);
    this.told = found.ids.length ? `${many(found.ids.length, "photo")}; those that look alike lie close together.`
      : Object.keys(filters).length ? "No photo passes the filters." : "The index has no photos yet.";
    this.say(this.told);
    if (this.text === text) return this.plane.resize();
    [this.found, this.text] = [found, text];
    this.pictures.clear();
    this.wanted = [];
    const fresh = byId("plane").cloneNode(); // without the listeners of the map before
    byId("plane").replaceWith(fresh);
    this.plane = new Plane(fresh, {
      x: found.x,
      y: found.y,
      tile: (n, size) => this.tile(n, size),
      colour: () => getComputedStyle(fresh).getPropertyValue("--quiet"),
      pick: (n, px, py, size) => this.pick(n, px, py, size),
      open: (n) => this.act("view", found.ids[n]),
    });
  }

  tile(n, size) {
    if (size < least * devicePixelRatio || this.plane.crowd > most) return null;
    const picture = this.pictures.get(n);
    if (picture) return size > small ? [picture[0], 0, 0, side] : [picture[1], 0, 0, small];
    if (picture === undefined) {
      this.pictures.set(n, null);
      this.wanted.push(n);
      this.fetch();
    }
    return null;
  }

  // The last one asked for comes first: it is in sight now.
  async fetch() {
    if (this.fetching >= atOnce || !this.wanted.length) return;
    this.fetching += 1;
    const [n, { found, plane }] = [this.wanted.pop(), this];
    try {
      const squares = await squaresOf(thumbnail(found.ids[n]));
      if (found === this.found) this.keep(n, squares);
      plane?.draw();
    } finally {
      this.fetching -= 1;
      this.fetch();
    }
  }

  keep(n, squares) {
    this.pictures.set(n, squares);
    if (this.pictures.size <= kept) return;
    const [oldest, dropped] = this.pictures.entries().next().value;
    this.pictures.delete(oldest);
    dropped?.forEach((square) => square.close());
    this.wanted = this.wanted.filter((other) => other !== oldest);
  }

  pick(n, px, py, size) {
    const card = byId("map-card");
    card.hidden = n < 0;
    const name = n < 0 ? "" : nameOf(this.found.paths[n]);
    if (byId("map-said").textContent !== name) byId("map-said").textContent = name;
    if (n < 0) return;
    const source = thumbnail(this.found.ids[n]);
    const picture = byId("map-large");
    if (picture.getAttribute("src") !== source) picture.src = source;
    byId("map-name").textContent = name;
    const room = card.parentElement.getBoundingClientRect();
    const beside = px + size / 2 + 12;
    const [width, height] = [card.offsetWidth, card.offsetHeight];
    card.style.left = `${beside + width > room.width ? Math.max(0, px - size / 2 - 12 - width) : beside}px`;
    card.style.top = `${Math.min(Math.max(0, py - height / 2), Math.max(0, room.height - height))}px`;
  }

  // The photo `step` beside the one with this id.
  beside(id, step) {
    const other = this.found?.ids[this.found.ids.indexOf(id) + step];
    return other && { id: other };
  }

  focus(id) {
    byId("plane").focus();
    const n = this.found?.ids.indexOf(id) ?? -1;
    if (n < 0) return;
    this.plane.choose(n);
    this.plane.reveal(n);
  }
}

async function squaresOf(source) {
  const image = new Image();
  image.src = source;
  try {
    await image.decode();
  } catch {
    return null; // without a thumbnail it stays a dot
  }
  const part = Math.min(image.naturalWidth, image.naturalHeight);
  const [left, top] = [(image.naturalWidth - part) / 2, (image.naturalHeight - part) / 2];
  const square = (pixels) =>
    createImageBitmap(image, left, top, part, part, { resizeWidth: pixels, resizeHeight: pixels, resizeQuality: "medium" });
  return Promise.all([side, small].map(square));
}
