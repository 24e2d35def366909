// The page's frame: addresses, theme, keys, and which page is shown.

import { complain, fill, h, icon, keep, kept, typing } from "./lib/dom.js";
import { about, listen, onRuns, ready, runs, tray } from "./lib/store.js";
import { home } from "./pages/home.js";
import { run } from "./pages/run.js";
import { compare } from "./pages/compare.js";
import { start } from "./pages/start.js";

const main = document.getElementById("main");
let leave = null;

const decoded = (text) => { try { return decodeURIComponent(text); } catch { return text; } };

function route() {
  const [page, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  return { page: page || "home", rest };
}

const PAGES = { home, run, compare, new: start };

async function show() {
  leave?.();
  leave = null;
  const { page, rest } = route();
  const here = location.hash;
  try {
    await ready();
  } catch (error) {
    fill(main, h("div", { class: "empty" }, h("h2", null, "The studio does not answer"), h("p", null, error.message), h("button", { class: "button", type: "button", onclick: show }, "Try again")));
    return;
  }
  if (here !== location.hash) return;
  document.getElementById("new").hidden = !about.control;
  const make = PAGES[page] ?? home;
  leave = make(main, rest) ?? null;
  crumbs(page, rest);
}

function crumbs(page, rest) {
  const name = page === "run" ? runs.get(rest[0])?.name ?? "a run" : { compare: "compare", new: "new run" }[page] ?? "";
  document.querySelector(".crumbs").textContent = name;
  document.title = name ? `${name} · steadygan studio` : `${about.directory || "runs"} · steadygan studio`;
}

function theme(value) {
  const dark = value === "dark" || (value !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  fill(document.getElementById("theme"), icon(dark ? "sun" : "moon"));
}

function showTray() {
  const list = tray.list(), button = document.getElementById("tray");
  button.hidden = list.length < 2;
  button.textContent = `Compare ${list.length}`;
  button.href = `#/compare/${list.join(",")}`;
}

const KEYS = [
  ["?", "this list"], ["g h", "all runs"], ["t", "light or dark"], ["/", "search the runs"], ["1 … 7", "the tabs of a run"],
  ["← →", "a step back or forward (Shift: ten)"], ["Space", "play or stop"], ["Home End", "first and last step"],
  ["c", "two steps side by side"], ["f", "full screen"], ["+ − 0", "zoom; at a chart, too"], ["r", "Play: other seeds"], ["Esc", "close"],
];

function keys() {
  const dialog = document.getElementById("keys");
  fill(dialog, h("h2", null, "Keyboard"), h("div", { class: "keys" }, KEYS.map(([key, text]) => [h("span", null, h("kbd", null, key)), h("span", null, text)])), h("p", { class: "small muted" }, "Drag across a chart to zoom in, double-click to see all of it."), h("form", { method: "dialog", class: "row" }, h("button", { class: "button", type: "button", onclick: () => dialog.close() }, "Close")));
  dialog.showModal();
}

let last = "";
document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  if (event.key === "?") keys();
  else if (event.key === "t") document.getElementById("theme").click();
  else if (event.key === "h" && last === "g") location.hash = "#/";
  else if (event.key === "/") { const search = document.querySelector("input[type=search]"); if (search) { search.focus(); event.preventDefault(); } }
  last = event.key;
});

theme(kept("theme", "auto"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(kept("theme", "auto")));
document.getElementById("theme").addEventListener("click", () => { const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark"; keep("theme", next); theme(next); });
document.getElementById("help").addEventListener("click", keys);
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", () => { show().then(() => { scrollTo(0, 0); main.focus({ preventScroll: true }); }); });
addEventListener("unhandledrejection", (event) => { complain(event.reason); event.preventDefault(); });
onRuns(showTray);
const link = document.getElementById("link");
listen((well) => { link.className = well ? "link" : "link lost"; link.textContent = well ? "live" : "no contact"; });
show();
