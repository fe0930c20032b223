// Photos that are one picture, side by side, and what is decided about them. No file is ever touched from here.

import { call, post, thumbnail } from "./api.js";
import { nameOf } from "./grid.js";

const perPage = 50;
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
    this.within = within;
    this.place.replaceChildren();
    this.say("Looking for duplicates\u2026");
    await this.more(0);
  }

  async more(offset) {
    const asked = new URLSearchParams({ limit: perPage, offset });
    if (this.within) asked.set("within", this.within);
    const page = await call(`duplicates?${asked}`);
    this.say(page.total ? `${page.total} groups of photos that are one picture.` : "No duplicates.");
    this.place.append(...page.groups.map((group) => this.group(group)));
    const next = offset + page.groups.length;
    if (next >= page.total) return;
    const rest = button("More groups", "Show more groups", () => {
      rest.remove();
      this.more(next);
    });
    this.place.append(rest);
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
    if (photo.id === group.keep) item.append(made("p", { className: "kept", textContent: `Keep: ${group.why}` }));
    else item.append(button("Keep this", `Keep ${name}`, () => this.decide("keep", [photo.id])));
    if (photo.id !== group.representative.id) {
      const both = [group.representative.id, photo.id];
      item.append(button("Not a duplicate", `${name} is not a duplicate`, () => this.decide("not-duplicates", both)));
    }
    return item;
  }

  async decide(what, photos) {
    try {
      const decision = await post("duplicates/decisions", { what, photos });
      await this.show(this.within);
      const undo = button("Undo", "Undo the decision", () => this.undo(decision.id));
      this.place.prepend(made("p", { className: "actions" }, `Decided: ${what.replace("-", " ")}. `, undo));
      undo.focus();
    } catch (error) {
      this.say(error.message);
    }
  }

  async undo(id) {
    await call(`duplicates/decisions/${id}`, { method: "DELETE" });
    await this.show(this.within);
  }
}
