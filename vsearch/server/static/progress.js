// Indexing, by this server or by another program: asked for again and again, oftener while something goes on.

import { call } from "./api.js";

const byId = (id) => document.getElementById(id);
const [soon, later] = [700, 5000]; // ms
const stale = 30_000; // ms without a change, after which unpublished changes are nobody's work under way
export const many = (count, what) => `${count.toLocaleString()} ${what}${count === 1 ? "" : "s"}`;

export class Progress {
  // fresh(): show what has come in.
  constructor(fresh) {
    this.sending = null; // [done, total] of the uploads of this page
    this.shown = null; // what the page shows: a generation, and how many photos
    this.last = { text: "", at: 0 };
    this.turn = 0;
    byId("fresh").addEventListener("click", fresh);
    document.addEventListener("visibilitychange", () => document.hidden || this.ask());
  }

  // What the page shows, unless that is known.
  showing(found) {
    this.shown ??= found;
  }

  // What is in the index now is what the page shows.
  forget() {
    this.shown = null;
    return this.ask();
  }

  async ask() {
    const turn = (this.turn += 1);
    clearTimeout(this.timer);
    let active = false;
    try {
      const found = await call("progress", {}, false);
      if (turn !== this.turn) return;
      active = this.show(found);
    } catch {
      byId("progress").hidden = true; // whatever is done next says that the server is away, or wants its token
    }
    if (turn === this.turn && !document.hidden) this.timer = setTimeout(() => this.ask(), active ? soon : later);
  }

  show(found) {
    this.showing(found);
    const under = this.under(found);
    const fresh = found.generation !== this.shown.generation;
    const more = found.photos - this.shown.photos;
    const text = under ? under.text : more > 0 ? `${many(more, "new photo")}.` : "The photos have changed.";
    byId("progress").hidden = !under && !fresh;
    byId("progress-text").textContent = text;
    byId("fresh").hidden = !fresh;
    const bar = byId("bar");
    bar.hidden = !under;
    if (under?.total) Object.assign(bar, { max: under.total, value: under.done });
    else bar.removeAttribute("value");
    return Boolean(under);
  }

  // What is under way, if anything.
  under({ photos, pending, adding }) {
    const [sent, files] = this.sending || [0, 0];
    const of = files ? ` ${sent} of ${many(files, "photo")} added.` : "";
    if (adding?.busy) return { text: `Another program writes to the index; ${many(adding.waiting, "photo")} wait.${of}` };
    if (adding?.total) {
      const [done, total] = files > adding.total ? [sent, files] : [adding.done, adding.total];
      return { text: `Indexing ${adding.done} of ${many(adding.total, "photo")}.${of}`, done, total };
    }
    if (files) return { text: `Sending.${of}`, done: sent, total: files };
    const text = `${photos} ${pending}`;
    if (text !== this.last.text) this.last = { text, at: this.last.text ? performance.now() : -stale };
    const working = pending && performance.now() - this.last.at < stale;
    return working ? { text: `Indexing: ${many(photos, "photo")} so far, ${many(pending, "change")} to be published.` } : null;
  }
}
