const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const sheets = data.sheets.map((source) => Object.assign(new Image(), { src: source }));

const tile = (n) => {
  const sheet = sheets[Math.floor(n / data.perSheet)];
  const place = n % data.perSheet;
  if (!data.colours[n] || !sheet.complete || !sheet.naturalWidth) return null;
  const [left, top] = [(place % data.columns) * data.side, Math.floor(place / data.columns) * data.side];
  return [sheet, left + 0.5, top + 0.5, data.side - 1]; // half a pixel in, so that no neighbour shows at the edges
};

function pick(n, px, py, side) {
  const card = byId("card");
  card.hidden = n < 0;
  byId("said").textContent = n < 0 ? "" : data.names[n];
  if (n < 0) return;
  const large = byId("large");
  const found = tile(n);
  large.hidden = !found;
  if (found) large.getContext("2d").drawImage(found[0], ...found.slice(1), found[3], 0, 0, large.width, large.height);
  byId("name").textContent = data.names[n];
  const [width, height] = [card.offsetWidth, card.offsetHeight];
  const beside = px + side / 2 + 12;
  card.style.left = `${beside + width > innerWidth ? Math.max(8, px - side / 2 - 12 - width) : beside}px`;
  card.style.top = `${Math.min(Math.max(8, py - height / 2), innerHeight - height - 8)}px`;
}

const open = (n) => Object.assign(document.createElement("a"), { href: data.links[n], target: "_blank", rel: "noopener" }).click();
const colour = (n) => (data.colours[n] ? `#${data.colours[n]}` : "#888");
const plane = new Plane(byId("plane"), { x: data.x, y: data.y, tile, colour, pick, open });
for (const sheet of sheets) sheet.decode().then(() => plane.draw(), () => null);
byId("in").addEventListener("click", () => plane.zoomBy(1.6));
byId("out").addEventListener("click", () => plane.zoomBy(1 / 1.6));
byId("all").addEventListener("click", () => plane.all());
// Keys work at once; the ring of a focused canvas shows only when somebody goes there by key.
addEventListener("keydown", (event) => {
  if (document.activeElement !== document.body || event.key === "Tab") return;
  byId("plane").focus();
  plane.key(event);
});
