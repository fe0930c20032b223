// Adding photos: in requests that the server takes, two at a time, so that uploads share a generation.

import { send } from "./api.js";
import { nameOf } from "./grid.js";

const byId = (id) => document.getElementById(id);
const [mostFiles, atOnce] = [25, 2];

export class Adding {
  // progress shows how far it is; finished(text) is called in the end.
  constructor(progress, finished) {
    [this.progress, this.finished] = [progress, finished];
    this.most = 0;
    this.dialog = byId("adding");
    byId("add-button").addEventListener("click", () => this.dialog.showModal());
    byId("adding-close").addEventListener("click", () => this.dialog.close());
    byId("add").addEventListener("change", (event) => this.add([...event.target.files]).finally(() => (event.target.value = "")));
  }

  // What the server said about itself.
  learn({ allow_add: allowed, roots, max_upload_bytes: most }) {
    this.most = most / 2; // the form has bytes of its own
    byId("add-button").hidden = !allowed;
    const names = roots.map((root) => nameOf(root));
    const unlike = new Set(names).size === names.length;
    byId("root").replaceChildren(...roots.map((root, n) => new Option(unlike ? names[n] : root, root)));
    byId("root-choice").hidden = roots.length < 2;
  }

  async add(files) {
    this.dialog.close();
    const pictures = files.filter((file) => file.size);
    if (!pictures.length) return;
    const root = byId("root").value;
    const left = batches(pictures, this.most);
    const told = { added: 0, unchanged: 0, wrong: [] };
    this.progress.sending = [0, pictures.length];
    this.progress.ask();
    const work = async () => {
      for (let some = left.shift(); some; some = left.shift()) {
        await addSome(some, root, told);
        this.progress.sending[0] += some.length;
      }
    };
    await Promise.all(Array.from({ length: atOnce }, work));
    this.progress.sending = null;
    const wrong = told.wrong.length ? ` Not added: ${told.wrong.join("; ")}.` : "";
    await this.finished(`${told.added} added, ${told.unchanged} were there already.${wrong}`);
  }
}

async function addSome(files, root, told) {
  try {
    const report = await send("photos", "file", files, { root });
    told.added += report.added;
    told.unchanged += report.unchanged;
    told.wrong.push(...report.skipped.map((photo) => `${nameOf(photo.path)} (${photo.reason})`));
  } catch (error) {
    const skipped = error.problem?.skipped?.map((photo) => `${nameOf(photo.path)} (${photo.reason})`);
    told.wrong.push(...(skipped ?? files.map((file) => `${file.name} (${error.message})`)));
  }
}

function batches(files, most) {
  const made = [];
  let bytes = Infinity;
  for (const file of files) {
    if (bytes + file.size > most || made.at(-1).length === mostFiles) {
      made.push([]);
      bytes = 0;
    }
    made.at(-1).push(file);
    bytes += file.size;
  }
  return made;
}
