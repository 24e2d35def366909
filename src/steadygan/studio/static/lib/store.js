// The server's data of all runs, kept up to date.

import { get } from "./api.js";

export const runs = new Map();
export const unread = [];  // folders that the server has no permission to read
export const about = { version: "", directory: "", control: false, device: "cpu", program: "steadygan" };
export const contact = { opened: 0 };  // number of reconnections to the server
const listeners = new Set();
let loaded;

export function onRuns(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
const tell = () => listeners.forEach((listener) => listener());

export function ready() {
  loaded ??= Promise.all([
    get("/api/about").then((found) => Object.assign(about, found)),
    get("/api/runs").then((found) => { found.runs.forEach((run) => runs.set(run.id, run)); unread.push(...found.unread); }),
  ]).catch((error) => { loaded = undefined; throw error; });
  return loaded;
}

// A browser has at most six connections to a host: a hidden page closes its own.
export function listen(onLink) {
  let source = null;
  const close = () => { source?.close(); source = null; };
  function open() {
    if (source || document.hidden) return;
    source = new EventSource("/api/events");
    source.addEventListener("open", () => onLink(true));
    source.addEventListener("error", () => onLink(false));
    source.addEventListener("runs", (event) => {
      const { changed, gone, whole } = JSON.parse(event.data);
      if (whole) { runs.clear(); contact.opened++; }
      for (const run of changed) runs.set(run.id, run);
      for (const id of gone) runs.delete(id);
      onLink(true);
      tell();
    });
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}

const picked = new Set();
export const tray = {
  has: (id) => picked.has(id),
  toggle(id) { if (!picked.delete(id)) picked.add(id); tell(); },
  list: () => [...picked].filter((id) => runs.has(id)),
};
