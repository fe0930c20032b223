const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
// Each sheet, and halves of it: 4,000 small squares drawn from large ones took 0.2 s a frame without a GPU.
const sheets = data.sheets.map(() => []);
const finest = 8;

async function load(source, levels) {
  const image = Object.assign(new Image(), { src: source });
  await image.decode();
  levels.push(image);
  for (let side = data.side / 2; side >= finest; side /= 2) {
    const half = document.createElement("canvas");
    [half.width, half.height] = [levels.at(-1).width / 2, levels.at(-1).height / 2];
    half.getContext("2d").drawImage(levels.at(-1), 0, 0, half.width, half.height);
    levels.push(half);
  }
}

const tile = (n, size) => {
  const levels = sheets[Math.floor(n / data.perSheet)];
  const place = n % data.perSheet;
  if (!data.colours[n] || !levels.length) return null;
  // Half a pixel in, so that no neighbour shows at the edges.
  const level = Math.min(Math.max(0, Math.floor(Math.log2(data.side / size))), levels.length - 1);
  const side = data.side / 2 ** level;
  return [levels[level], (place % data.columns) * side + 0.5, Math.floor(place / data.columns) * side + 0.5, side - 1];
};

function pick(n, px, py, side) {
  const card = byId("card");
  card.hidden = n < 0;
  byId("said").textContent = n < 0 ? "" : data.names[n];
  if (n < 0) return;
  const large = byId("large");
  const found = tile(n, large.width);
  large.hidden = !found;
  if (found) large.getContext("2d").drawImage(found[0], ...found.slice(1), found[3], 0, 0, large.width, large.height);
  byId("name").textContent = data.names[n];
  const [width, height] = [card.offsetWidth, card.offsetHeight];
  const { clientWidth, clientHeight } = byId("stage");
  const beside = px + side / 2 + 12;
  card.style.left = `${beside + width > clientWidth ? Math.max(8, px - side / 2 - 12 - width) : beside}px`;
  card.style.top = `${Math.min(Math.max(8, py - height / 2), clientHeight - height - 8)}px`;
}

const open = (n) => Object.assign(document.createElement("a"), { href: data.links[n], target: "_blank", rel: "noopener" }).click();
const colour = (n) => (data.colours[n] ? `#${data.colours[n]}` : "#888");
const plane = new Plane(byId("plane"), { x: data.x, y: data.y, tile, colour, pick, open });
data.sheets.forEach((source, n) => load(source, sheets[n]).then(() => plane.draw()));
byId("in").addEventListener("click", () => plane.zoomBy(1.6));
byId("out").addEventListener("click", () => plane.zoomBy(1 / 1.6));
byId("all").addEventListener("click", () => plane.all());
// Keys work at once; the ring of a focused canvas shows only when somebody goes there by key.
addEventListener("keydown", (event) => {
  if (document.activeElement !== document.body || event.key === "Tab") return;
  byId("plane").focus();
  plane.key(event);
});
