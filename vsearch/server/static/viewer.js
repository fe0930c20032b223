// One photo, large, with what is known about it.

import { call, original, thumbnail } from "./api.js";
import { nameOf } from "./grid.js";

const byId = (id) => document.getElementById(id);
const shownInBrowsers = new Set(["JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP"]);

export class Viewer {
  // act(what, id): what is "similar", "crop", "plus", "minus", "previous", "next" or "close".
  constructor(act) {
    this.dialog = byId("viewer");
    this.id = "";
    this.dialog.addEventListener("click", (event) => {
      const what = event.target.closest("[data-act]")?.dataset.act;
      if (what) act(what, this.id);
    });
    this.dialog.addEventListener("keydown", (event) => {
      const what = { ArrowLeft: "previous", ArrowRight: "next", "+": "plus", "-": "minus" }[event.key];
      if (what) act(what, this.id);
    });
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      act("close", this.id);
    });
  }

  async open(id) {
    this.id = id;
    const large = byId("large");
    large.src = thumbnail(id); // at once; the whole picture when it has come
    if (!this.dialog.open) this.dialog.showModal();
    const photo = await call(`photos/${id}`);
    if (this.id !== id) return;
    const name = nameOf(photo.path);
    byId("name").textContent = large.alt = name;
    byId("facts").replaceChildren(...facts(photo));
    byId("original").href = original(id);
    if (!shownInBrowsers.has(photo.facts?.format)) return;
    const whole = new Image();
    whole.src = original(id);
    await whole.decode().catch(() => null);
    if (this.id === id && whole.naturalWidth) large.src = whole.src;
  }

  close() {
    this.id = "";
    if (this.dialog.open) this.dialog.close();
  }
}

function facts(photo) {
  const known = photo.facts || {};
  const rows = {
    Folder: `${photo.root}/${photo.path}`.slice(0, -nameOf(photo.path).length - 1),
    Taken: known.taken_at?.replace("T", " "),
    Camera: known.camera,
    Size: known.width && `${known.width} \u00d7 ${known.height}`,
    Format: known.format,
    File: `${(photo.size / 1024).toLocaleString(undefined, { maximumFractionDigits: 0 })} KB`,
    Problem: photo.reason,
  };
  return Object.entries(rows)
    .filter(([, value]) => value)
    .flatMap(([label, value]) => [
      Object.assign(document.createElement("dt"), { textContent: label }),
      Object.assign(document.createElement("dd"), { textContent: value }),
    ]);
}
