// An endless grid. Photos come in chunks; a chunk far outside the window keeps its height and drops its pictures, so
// that 100,000 photos cost no more than the few hundred in sight.

import { thumbnail } from "./api.js";

const perChunk = 60;

const element = (name, properties, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

export const nameOf = (path) => path.slice(path.lastIndexOf("/") + 1);

export class Grid {
  // act(what, item): what is "similar", "plus", "minus" or "view". guarded(work): does it, and says what goes wrong.
  constructor(place, end, act, guarded) {
    this.place = place;
    this.act = act;
    this.more = null;
    this.items = [];
    this.near = new IntersectionObserver((seen) => seen.forEach((entry) => this.show(entry)), { rootMargin: "1500px" });
    new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && guarded(() => this.fill()), {
      rootMargin: "1200px",
    }).observe(end);
    this.end = end;
    place.addEventListener("click", (event) => this.click(event));
    place.addEventListener("keydown", (event) => this.key(event));
  }

  // Show what `more()` gives, page after page, until it gives null.
  restart(more) {
    this.clear(more);
    return this.fill();
  }

  clear(more) {
    this.near.disconnect();
    this.place.replaceChildren();
    [this.items, this.chunks, this.more, this.loading] = [[], new Map(), more, false];
  }

  // All that is shown, for `resume`.
  left() {
    const { items, chunks, more } = this;
    const at = this.place.contains(document.activeElement) ? document.activeElement : null;
    return items.length ? { items, chunks, more, at } : null;
  }

  // Show what was `left` as it was.
  resume({ items, chunks, more, at }) {
    this.clear(more);
    [this.items, this.chunks] = [items, chunks];
    this.place.append(...chunks.keys());
    for (const chunk of chunks.keys()) this.near.observe(chunk);
    at?.focus({ preventScroll: true });
  }

  async fill() {
    const more = this.more;
    if (!more || this.loading) return;
    this.loading = true;
    try {
      more.coming ??= more(); // kept until it is shown, for whoever leaves meanwhile may come back
      const items = await more.coming.catch((error) => {
        more.coming = null;
        if (more === this.more) throw error;
      });
      if (more !== this.more) return; // something else is shown meanwhile
      more.coming = null;
      if (items === null) this.more = null;
      else this.append(items);
    } finally {
      if (more === this.more || this.more === null) this.loading = false;
    }
    if (this.more && this.end.getBoundingClientRect().top < innerHeight + 1200) await this.fill();
  }

  append(items) {
    for (let start = 0; start < items.length; start += perChunk) {
      const first = this.items.length;
      const some = items.slice(start, start + perChunk);
      this.items.push(...some);
      const chunk = element("ul", { className: "chunk" });
      this.chunks.set(chunk, [first, some.length]);
      this.draw(chunk);
      this.place.append(chunk);
      this.near.observe(chunk);
    }
  }

  show({ target, isIntersecting, boundingClientRect }) {
    if (isIntersecting && !target.childElementCount) {
      this.draw(target);
      target.style.height = "";
    } else if (!isIntersecting && target.childElementCount && boundingClientRect.height) {
      if (target.contains(document.activeElement)) return;
      target.style.height = `${boundingClientRect.height}px`;
      target.replaceChildren();
    }
  }

  draw(chunk) {
    const [first, count] = this.chunks.get(chunk);
    chunk.replaceChildren(...this.items.slice(first, first + count).map((item, n) => card(item, first + n)));
  }

  click(event) {
    const button = event.target.closest("button[data-act]");
    if (button) this.act(button.dataset.act, this.items[button.closest("li").dataset.n]);
  }

  key(event) {
    const from = event.target.closest("li[data-n]");
    if (!from || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { v: "view", "+": "plus", "-": "minus" };
    if (keys[event.key]) return this.act(keys[event.key], this.items[from.dataset.n]);
    const columns = getComputedStyle(from.parentElement).gridTemplateColumns.split(" ").length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    if (steps[event.key]) {
      event.preventDefault();
      this.place.querySelector(`li[data-n="${Number(from.dataset.n) + steps[event.key]}"] .pick`)?.focus();
    }
  }

  // The item `step` beside the one with this id.
  beside(id, step) {
    const n = this.items.findIndex((item) => item.id === id);
    return n < 0 ? undefined : this.items[n + step];
  }

  focus(id) {
    const n = this.items.findIndex((item) => item.id === id);
    this.place.querySelector(`li[data-n="${n}"] .pick`)?.focus();
  }
}

function card(item, n) {
  const name = nameOf(item.path);
  const scored = item.score === undefined ? "" : `, score ${item.score.toFixed(2)}, ${item.kind}`;
  const picture = element("img", { src: thumbnail(item.id), alt: "", loading: "lazy", decoding: "async" });
  const pick = element("button", { type: "button", className: "pick", title: name }, picture);
  pick.dataset.act = "similar";
  pick.setAttribute("aria-label", `More like ${name}${scored}`);
  const tools = element("div", { className: "tools" });
  for (const [act, sign, label] of [
    ["plus", "+", "Add as plus"],
    ["minus", "\u2212", "Add as minus"],
    ["view", "\u2922", "Large view"],
  ]) {
    const tool = element("button", { type: "button", textContent: sign, title: label });
    tool.dataset.act = act;
    tool.setAttribute("aria-label", `${label}: ${name}`);
    tools.append(tool);
  }
  const made = element("li", { className: "card" }, pick, tools);
  made.dataset.n = n;
  made.dataset.id = item.id;
  if (scored) {
    const kind = item.kind === "similar" ? "" : ` ${item.kind}`;
    const score = element("span", { className: "score", textContent: item.score.toFixed(2) + kind });
    score.setAttribute("aria-hidden", "true"); // the button says it
    made.append(score);
  }
  return made;
}
