// Photos that are one picture, side by side, and what is decided about them. No file is ever touched from here.

import { call, post, thumbnail } from "./api.js";
import { nameOf } from "./grid.js";
import { many } from "./progress.js";

const perPage = 50;
const words = { keep: "keep this", "not-duplicates": "not duplicates" };
const made = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const button = (text, label, work) => {
  const element = made("button", { type: "button", textContent: text });
  element.setAttribute("aria-label", label);
  element.addEventListener("click", work);
  return element;
};

export class Duplicates {
  constructor(place, act, say) {
    [this.place, this.act, this.say] = [place, act, say];
  }

  async show(within) {
    const turn = (this.turn = {}); // what an earlier one still brings is thrown away
    this.within = within;
    this.place.replaceChildren();
    this.say("Looking for duplicates\u2026");
    const decisions = await call("duplicates/decisions");
    if (turn !== this.turn) return;
    if (decisions.length) this.place.append(this.decisions(decisions));
    await this.more(0);
  }

  // All that is shown, for `resume`.
  left() {
    return this.place.childElementCount ? { nodes: [...this.place.childNodes], within: this.within, turn: this.turn } : null;
  }

  // Show what was `left` as it was.
  resume({ nodes, within, turn }) {
    [this.within, this.turn] = [within, turn];
    this.place.replaceChildren(...nodes);
  }

  async more(offset) {
    const { turn } = this;
    const asked = new URLSearchParams({ limit: perPage, offset });
    if (this.within) asked.set("within", this.within);
    const page = await call(`duplicates?${asked}`);
    if (turn !== this.turn) return;
    if (!this.place.hidden) this.say(page.total ? `${many(page.total, "group")} of photos that are one picture.` : "No duplicates.");
    this.place.append(...page.groups.map((group) => this.group(group)));
    const next = offset + page.groups.length;
    if (next >= page.total) return;
    const rest = button("More groups", "Show more groups", () => {
      rest.remove();
      this.trying(() => this.more(next));
    });
    this.place.append(rest);
  }

  async trying(work) {
    try {
      await work();
    } catch (error) {
      this.say(error.message);
    }
  }

  // What was decided, newest first, each to be undone.
  decisions(decisions) {
    const rows = decisions.toReversed().map(({ id, what, paths }) => {
      const text = `${words[what]}: ${paths.map(nameOf).join(", ")}`;
      return made("li", {}, button("Undo", `Undo: ${text}`, () => this.trying(() => this.undo(id))), text);
    });
    const list = made("ul", { className: "decided" }, ...rows);
    return made("details", {}, made("summary", { textContent: many(rows.length, "decision") }), list);
  }

  group(group) {
    const photos = [{ photo: group.representative, kind: "representative" }, ...group.members];
    const title = `${photos.length} photos like ${nameOf(group.representative.path)}`;
    const section = made("section", { className: "group" }, made("h2", { textContent: title }));
    const list = made("ul", {}, ...photos.map((member) => this.member(member, group)));
    section.setAttribute("aria-label", title);
    section.append(list);
    return section;
  }

  member({ photo, kind, score }, group) {
    const name = nameOf(photo.path);
    const picture = made("button", { type: "button", className: "picture" },
      made("img", { src: thumbnail(photo.id), alt: "", loading: "lazy" }));
    picture.setAttribute("aria-label", `Large view: ${name}`);
    picture.addEventListener("click", () => this.act("view", photo.id));
    const evidence = score === undefined ? kind : `${kind}, score ${score.toFixed(2)}`;
    const size = `${photo.width} \u00d7 ${photo.height}, ${Math.ceil(photo.bytes / 1024).toLocaleString()} KB`;
    const item = made("li", {}, picture, made("p", { textContent: name }),
      made("p", { textContent: [size, photo.taken_at?.replace("T", " "), evidence].filter(Boolean).join(" \u00b7 ") }));
    item.dataset.photo = photo.id;
    if (photo.id === group.keep) item.append(made("p", { className: "kept", textContent: `Keep: ${group.why}` }));
    else item.append(button("Keep this", `Keep ${name}`, () => this.decide("keep", [photo.id])));
    if (photo.id !== group.representative.id && kind !== "identical") {
      const both = [group.representative.id, photo.id];
      item.append(button("Not a duplicate", `${name} is not a duplicate`, () => this.decide("not-duplicates", both)));
    }
    return item;
  }

  decide(what, photos) {
    return this.trying(async () => {
      const decision = await post("duplicates/decisions", { what, photos });
      await this.show(this.within);
      const undo = button("Undo", "Undo the decision", () => this.trying(() => this.undo(decision.id)));
      this.place.prepend(made("p", { className: "actions" }, `Decided: ${words[what]}. `, undo));
      undo.focus();
    });
  }

  async undo(id) {
    await call(`duplicates/decisions/${id}`, { method: "DELETE" });
    await this.show(this.within);
    this.place.querySelector("button, summary")?.focus();
  }

  // The photo `step` beside the one with this id, as they stand on the page.
  beside(id, step) {
    const ids = [...this.place.querySelectorAll("[data-photo]")].map((item) => item.dataset.photo);
    const other = ids.includes(id) && ids[ids.indexOf(id) + step];
    return other ? { id: other } : undefined;
  }

  focus(id) {
    this.place.querySelector(`[data-photo="${CSS.escape(id)}"] .picture`)?.focus();
  }
}
