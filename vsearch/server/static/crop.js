// Choosing a region of a picture: with a pointer or with the arrow keys.

const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const least = 0.02;
const step = 0.02;

export class Cropper {
  constructor() {
    this.dialog = byId("cropper");
    this.area = byId("crop-area");
    this.image = byId("crop-image");
    this.area.addEventListener("pointerdown", (event) => this.start(event));
    this.area.addEventListener("pointermove", (event) => this.from && this.drag(event));
    this.area.addEventListener("pointerup", () => (this.from = null));
    this.area.addEventListener("pointercancel", () => (this.from = null));
    this.area.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("click", (event) => {
      const what = event.target.closest("[data-crop]")?.dataset.crop;
      if (what) this.finish(what);
    });
    this.dialog.addEventListener("cancel", () => this.finish("cancel"));
  }

  // The chosen region as "x,y,width,height" in the picture's pixels; "" for the whole, null for no choice.
  // source: what to show; small: what to show where that cannot be.
  choose({ source, small, width, height }, region) {
    [this.width, this.height] = [width, height];
    const [x, y, w, h] = region ? region.split(",").map(Number) : [width / 4, height / 4, width / 2, height / 2];
    this.box = { x: x / width, y: y / height, w: w / width, h: h / height };
    this.image.onerror = () => {
      this.image.onerror = null;
      this.image.src = small;
    };
    this.image.src = source;
    this.draw();
    this.dialog.showModal();
    this.area.focus();
    return new Promise((done) => (this.done = done));
  }

  finish(what) {
    if (this.dialog.open) this.dialog.close();
    this.done?.({ search: this.region(), whole: "", cancel: null }[what]);
    this.done = null;
  }

  region() {
    const { x, y, w, h } = this.box;
    const [left, top] = [Math.floor(x * this.width), Math.floor(y * this.height)];
    const across = clamp(Math.round(w * this.width), 1, this.width - left);
    const down = clamp(Math.round(h * this.height), 1, this.height - top);
    return [left, top, across, down].join(",");
  }

  at(event) {
    const frame = this.area.getBoundingClientRect();
    return [
      clamp((event.clientX - frame.left) / frame.width, 0, 1),
      clamp((event.clientY - frame.top) / frame.height, 0, 1),
    ];
  }

  start(event) {
    this.from = this.at(event);
    this.area.setPointerCapture(event.pointerId);
  }

  drag(event) {
    const [[x0, y0], [x1, y1]] = [this.from, this.at(event)];
    const [w, h] = [Math.max(Math.abs(x1 - x0), least), Math.max(Math.abs(y1 - y0), least)];
    this.box = { x: clamp(Math.min(x0, x1), 0, 1 - w), y: clamp(Math.min(y0, y1), 0, 1 - h), w, h };
    this.draw();
  }

  key(event) {
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const move = moves[event.key];
    if (event.key === "Enter") this.finish("search");
    if (!move) return;
    event.preventDefault();
    const box = this.box;
    if (event.shiftKey) {
      box.w = clamp(box.w + move[0], least, 1 - box.x);
      box.h = clamp(box.h + move[1], least, 1 - box.y);
    } else {
      box.x = clamp(box.x + move[0], 0, 1 - box.w);
      box.y = clamp(box.y + move[1], 0, 1 - box.h);
    }
    this.draw();
  }

  draw() {
    const style = byId("crop-box").style;
    const { x, y, w, h } = this.box;
    for (const [name, part] of Object.entries({ left: x, top: y, width: w, height: h })) style[name] = `${part * 100}%`;
    const [left, top, across, down] = this.region().split(",");
    byId("crop-value").textContent = `${across} \u00d7 ${down} pixels at ${left}, ${top}`;
  }
}
