// The server's API. Every failure is an Error whose message is fit for a person.

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || `the server answered ${status}`);
    this.status = status;
    this.problem = problem;
    this.word = (problem.type || "").split(":").pop();
  }
}

const waits = [300, 900, 2700]; // a server that restarts or is busy is asked again

export async function call(path, options = {}, again = true) {
  for (let turn = 0; ; turn += 1) {
    let answer = null;
    try {
      answer = await fetch(`/api/v1/${path}`, options);
    } catch (error) {
      if (error.name === "AbortError" || !again || turn >= waits.length) {
        throw error.name === "AbortError" ? error : new Error("the server cannot be reached; is it running?");
      }
    }
    if (answer?.ok) return [204, 206].includes(answer.status) ? null : answer.json();
    if (answer && !(answer.status === 503 && again && turn < waits.length)) {
      throw new Refused(answer.status, await answer.json().catch(() => ({})));
    }
    await new Promise((done) => setTimeout(done, waits[turn]));
  }
}

export const post = (path, body, signal) =>
  call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });

export const login = (token) =>
  call("session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }) }, false);

export function send(path, field, files, words = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(words)) if (value) form.append(name, value);
  for (const file of files) form.append(field, file);
  return call(path, { method: "POST", body: form }, path !== "photos");
}

export const thumbnail = (name) =>
  name.startsWith("picture:") ? `/api/v1/pictures/${name}` : `/api/v1/photos/${name}/thumbnail`;

export const original = (id) => `/api/v1/photos/${id}/original`;

export const shownInBrowsers = new Set(["JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP"]);

// Fails where the photo's file is gone or has changed: a region is cut out of the file.
export async function needFile(id) {
  try {
    await call(`photos/${id}/original`, { headers: { Range: "bytes=0-0" }, cache: "no-store" });
  } catch (error) {
    if (error.status === 410) error.message += ", so no region of it can be searched";
    throw error;
  }
}
