// The map's drawing: photos at places on a canvas, to move about in, by mouse, touch and keys. It knows neither where
// thumbnails come from nor what opening a photo means; the contact page and the server's page each say that.

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const largest = 176; // CSS pixels of a thumbnail
const smallestPicture = 8; // below that a square of its colour says as much
const grown = 1.15; // of the chosen one
const margin = 0.06;
const pan = 60;
const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Plane {
  // x, y: places in 0..1. tile(n, pixels): [image, left, top, side] or null; colour(n): a CSS colour.
  // pick(n): n is chosen, -1 for none, with where it is on the canvas; open(n): show it large.
  constructor(canvas, { x, y, tile, colour, pick, open }) {
    Object.assign(this, { canvas, x, y, tile, colour, pick, open });
    this.context = canvas.getContext("2d");
    [this.zoom, this.left, this.top] = [1, 0, 0]; // of the window onto the map; left and top in map units
    const extent = (values) => Math.max(values.reduce((a, b) => Math.max(a, b), 0) - values.reduce((a, b) => Math.min(a, b), 1), 0.05);
    [this.across, this.tall] = [extent(x), extent(y)];
    this.chosen = -1;
    this.pointers = new Map();
    this.most = Math.max(16, 12 * Math.sqrt(x.length));
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !this.pointers.size && this.choose(-1));
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.resize();
  }

  // -- where things are --------------------------------------------------------------------------

  resize() {
    const ratio = (this.ratio = devicePixelRatio || 1);
    [this.width, this.height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    [this.canvas.width, this.canvas.height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    this.draw();
  }

  // CSS pixels for one unit of the map; at zoom 1 all of it is in sight, with a chosen thumbnail at each edge.
  get scale() {
    const side = this.sizeAt(1) * grown;
    const room = (length) => Math.max(length - Math.max(2 * margin * length, side), 1);
    return Math.min(room(this.width) / this.across, room(this.height) / this.tall) * this.zoom;
  }

  at(n) {
    return [
      (this.x[n] - 0.5 - this.left) * this.scale + this.width / 2,
      (this.y[n] - 0.5 - this.top) * this.scale + this.height / 2,
    ];
  }

  // Side of a thumbnail. It grows more slowly than distances, so that what overlaps comes apart.
  get size() {
    return this.sizeAt(this.zoom);
  }

  sizeAt(zoom) {
    const room = 0.55 * Math.sqrt((this.width * this.height) / this.x.length);
    return clamp(room * zoom ** 0.8, 3, largest);
  }

  nearest(px, py, reach) {
    let [best, least] = [-1, reach];
    for (let n = 0; n < this.x.length; n += 1) {
      const [cx, cy] = this.at(n);
      const apart = Math.max(Math.abs(cx - px), Math.abs(cy - py));
      if (apart < least) [best, least] = [n, apart];
    }
    return best;
  }

  // -- drawing -----------------------------------------------------------------------------------

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.paint();
    });
  }

  paint() {
    const { context, size, ratio } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    [this.crowd, this.seen] = [this.seen ?? 0, 0]; // photos in sight, in the frame before and in this one
    context.imageSmoothingEnabled = size > 24; // so small, it costs time and hardly shows
    for (let n = 0; n < this.x.length; n += 1) if (n !== this.chosen) this.paintOne(n, size);
    context.imageSmoothingEnabled = true;
    if (this.chosen < 0) return;
    const side = Math.max(size * grown, 14);
    this.paintOne(this.chosen, side);
    const [cx, cy] = this.at(this.chosen);
    context.lineWidth = 3;
    context.strokeStyle = getComputedStyle(this.canvas).getPropertyValue("--accent");
    context.strokeRect(cx - side / 2, cy - side / 2, side, side);
    this.pick(this.chosen, cx, cy, side);
  }

  paintOne(n, size) {
    const [cx, cy] = this.at(n);
    const half = size / 2;
    if (cx < -half || cy < -half || cx > this.width + half || cy > this.height + half) return;
    this.seen += 1;
    const found = size >= smallestPicture ? this.tile(n, size * this.ratio) : null;
    if (found) {
      const [image, left, top, side] = found;
      this.context.drawImage(image, left, top, side, side, cx - half, cy - half, size, size);
    } else {
      this.context.fillStyle = this.colour(n);
      const dot = Math.min(size, 16);
      this.context.fillRect(cx - dot / 2, cy - dot / 2, dot, dot);
    }
  }

  // -- moving ------------------------------------------------------------------------------------

  // Zoom so that the point of the map under (px, py) stays there.
  zoomBy(factor, px = this.width / 2, py = this.height / 2) {
    const before = this.scale;
    this.zoom = clamp(this.zoom * factor, 0.8, this.most);
    const shift = 1 / before - 1 / this.scale;
    this.panBy((px - this.width / 2) * shift * this.scale, (py - this.height / 2) * shift * this.scale);
  }

  panBy(dx, dy) {
    this.left = clamp(this.left + dx / this.scale, -0.6, 0.6);
    this.top = clamp(this.top + dy / this.scale, -0.6, 0.6);
    this.draw();
  }

  all() {
    [this.zoom, this.left, this.top] = [1, 0, 0];
    this.draw();
  }

  choose(n) {
    if (n === this.chosen) return;
    this.chosen = n;
    if (n < 0) this.pick(-1);
    this.draw();
  }

  // Bring a photo into sight.
  reveal(n) {
    const [cx, cy] = this.at(n);
    const edge = Math.min(this.width, this.height) * 0.12;
    const beyond = (value, end) => Math.min(0, value - edge) + Math.max(0, value - end + edge);
    this.panBy(beyond(cx, this.width), beyond(cy, this.height));
  }

  // -- mouse and touch ---------------------------------------------------------------------------

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode ? 33 : 1;
    this.zoomBy(Math.exp(-clamp(event.deltaY * lines, -240, 240) * 0.0025), event.offsetX, event.offsetY);
  }

  down(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    if (!this.pointers.size) [this.moved, this.before] = [false, this.chosen];
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (this.pointers.size > 1) this.moved = true;
  }

  move(event) {
    const now = [event.offsetX, event.offsetY];
    const then = this.pointers.get(event.pointerId);
    if (!then) return event.pointerType === "mouse" && this.choose(this.nearest(...now, Math.max(this.size / 2, 8)));
    if (!this.moved && Math.hypot(now[0] - then[0], now[1] - then[1]) < 5) return;
    this.moved = true;
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    if (!other) return this.panBy(then[0] - now[0], then[1] - now[1]);
    const apart = ([px, py]) => Math.max(Math.hypot(px - other[0], py - other[1]), 1);
    this.panBy((then[0] - now[0]) / 2, (then[1] - now[1]) / 2);
    return this.zoomBy(apart(now) / apart(then), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    if (this.moved || event.type === "pointercancel") return;
    const n = this.nearest(event.offsetX, event.offsetY, Math.max(this.size / 2, event.pointerType === "mouse" ? 8 : 20));
    // A finger cannot hover: its first tap shows which photo it is, the second opens it.
    if (n >= 0 && (event.pointerType === "mouse" || n === this.before)) this.open(n);
    else this.choose(n);
  }

  // -- keys --------------------------------------------------------------------------------------

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const towards = arrows[event.key];
    if (towards && event.shiftKey) this.panBy(towards[0] * pan, towards[1] * pan);
    else if (towards) this.step(...towards);
    else if (event.key === "+" || event.key === "=") this.zoomAtChosen(1.4);
    else if (event.key === "-") this.zoomAtChosen(1 / 1.4);
    else if (event.key === "0" || event.key === "Home") this.all();
    else if (event.key === "Enter" && this.chosen >= 0) this.open(this.chosen);
    else if (event.key === "Escape" && this.chosen >= 0) this.choose(-1);
    else return;
    event.preventDefault();
  }

  zoomAtChosen(factor) {
    if (this.chosen < 0) this.zoomBy(factor);
    else this.zoomBy(factor, ...this.at(this.chosen));
  }

  // Choose the next photo in a direction; those straight ahead count as nearer than those aside.
  step(dx, dy) {
    const [px, py] = this.chosen < 0 ? [this.width / 2, this.height / 2] : this.at(this.chosen);
    let [best, least] = [-1, Infinity];
    for (let n = 0; n < this.x.length; n += 1) {
      const [cx, cy] = this.at(n);
      const ahead = (cx - px) * dx + (cy - py) * dy;
      const aside = Math.abs((cx - px) * dy) + Math.abs((cy - py) * dx);
      const cost = this.chosen < 0 ? Math.hypot(cx - px, cy - py) : ahead > 0.01 ? ahead + 2 * aside : Infinity;
      if (n !== this.chosen && cost < least) [best, least] = [n, cost];
    }
    if (best < 0) return;
    this.choose(best);
    this.reveal(best);
  }
}
