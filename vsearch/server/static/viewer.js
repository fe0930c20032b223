// One photo, large, with what is known about it.

import { call, needFile, original, shownInBrowsers, thumbnail } from "./api.js";
import { nameOf } from "./grid.js";

const byId = (id) => document.getElementById(id);

export class Viewer {
  // act(what, id): what is "similar", "crop", "plus", "minus", "previous", "next" or "close".
  constructor(act) {
    this.dialog = byId("viewer");
    this.original = byId("original");
    this.region = this.dialog.querySelector("[data-act=crop]");
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
    if (this.id !== id) this.clear();
    this.id = id;
    this.say("");
    const large = byId("large");
    large.src = thumbnail(id); // at once; the whole picture when it has come
    if (!this.dialog.open) this.dialog.showModal();
    const photo = await call(`photos/${id}`).catch((error) => {
      if (this.id === id) throw error;
    });
    if (this.id !== id) return;
    const name = nameOf(photo.path);
    byId("name").textContent = large.alt = name;
    byId("facts").replaceChildren(...facts(photo));
    for (const part of ["name", "facts"]) byId(part).style.minHeight = "";
    this.original.href = original(id);
    const whole = new Image();
    if (shownInBrowsers.has(photo.facts?.format)) {
      whole.src = original(id);
      await whole.decode().catch(() => null);
    }
    if (this.id !== id) return;
    if (whole.naturalWidth) large.src = whole.src;
    else await this.check(id);
  }

  // The thumbnail is all that is shown: is it all that is left?
  async check(id) {
    try {
      await needFile(id);
    } catch (error) {
      if (this.id !== id) return;
      if (error.status === 410) this.withoutFile();
      throw error;
    }
  }

  withoutFile() {
    this.withoutOriginal();
    this.leave(this.region);
    this.region.disabled = true;
  }

  // What goes wrong with this photo is said here: the page's own words are behind the dialog.
  say(text) {
    byId("viewer-error").textContent = text;
  }

  // Nothing of the photo before is said of the next. Its room is kept, so that no button moves under the pointer.
  clear() {
    for (const part of ["name", "facts"]) {
      byId(part).style.minHeight = `${byId(part).offsetHeight}px`;
      byId(part).replaceChildren();
    }
    byId("large").alt = "";
    this.withoutOriginal();
    this.region.disabled = false;
  }

  withoutOriginal() {
    this.leave(this.original);
    this.original.removeAttribute("href");
  }

  // Keys come only to what has the focus, so what is about to lose it hands it on.
  leave(element) {
    if (document.activeElement === element) this.dialog.querySelector("[data-act=similar]").focus();
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
