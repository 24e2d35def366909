// Small helpers: elements, formatted numbers, notices.

const SVG = "http://www.w3.org/2000/svg";

function build(node, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.setAttribute("class", value);
    else if (key === "value" || key === "checked" || key === "disabled" || key === "selected") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

export const h = (tag, props, ...children) => build(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => build(document.createElementNS(SVG, tag), props, children);

export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
  return node;
}

const PATHS = {
  running: "M12 3a9 9 0 1 0 9 9", starting: "M12 3a9 9 0 1 0 9 9", finished: "M4 12.5l5.5 5.5L20 6.5",
  stopped: "M6 6h12v12H6z", paused: "M8 5v14M16 5v14", collapsed: "M3 6l6 7 4-3 8 9M21 13v6h-6",
  failed: "M5 5l14 14M19 5L5 19", lost: "M12 4v10M12 18.5v1", unknown: "M5 12h14",
  play: "M7 4.5v15l12-7.5z", pause: "M8 5v14M16 5v14", sun: "M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10M12 1.5v2M12 20.5v2M1.5 12h2M20.5 12h2M4.6 4.6L6 6M18 18l1.4 1.4M4.6 19.4L6 18M18 6l1.4-1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z", full: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  two: "M3 5h8v14H3zM13 5h8v14h-8z", save: "M12 4v11M7.5 11l4.5 4.5 4.5-4.5M4 20h16", plus: "M12 5v14M5 12h14", minus: "M5 12h14",
  star: "M12 3.5l2.6 5.6 6 .7-4.4 4.2 1.2 6-5.4-3-5.4 3 1.2-6L3.4 9.8l6-.7z", dice: "M4 4h16v16H4zM8.5 8.5h.01M15.5 8.5h.01M12 12h.01M8.5 15.5h.01M15.5 15.5h.01",
  good: "M4 12.5l5.5 5.5L20 6.5", warn: "M12 4v10M12 18.5v1", bad: "M5 5l14 14M19 5L5 19", calm: "M12 10v8M12 5.5v1", left: "M15 5l-7 7 7 7", right: "M9 5l7 7-7 7",
};
export const icon = (name) => s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", fill: name === "play" ? "currentColor" : "none", stroke: "currentColor", "stroke-width": 2.4, "stroke-linecap": "round", "stroke-linejoin": "round" }, s("path", { d: PATHS[name] ?? PATHS.unknown }));

const WORDS = { running: "running", starting: "starting", paused: "paused", finished: "finished", stopped: "stopped", collapsed: "collapsed", failed: "failed", lost: "lost contact", unknown: "no records yet" };
export const stateWord = (state) => WORDS[state] ?? state;
export const pill = (state) => h("span", { class: `state ${state}` }, icon(state), stateWord(state));

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}
export const count = (value) => (value ?? 0).toLocaleString("en");

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return null;
  const minutes = Math.round(seconds / 60);
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}
export function ago(when) {
  const seconds = Date.now() / 1000 - when;
  return !when ? "" : seconds < 45 ? "just now" : `${duration(seconds)} ago`;
}

// A run's progress, by its steps or by its hours.
export function far(run) {
  if (run.steps) return `step ${count(run.step)} of ${count(run.steps)}`;
  return `step ${count(run.step)}${run.hours ? ` · ${Math.floor(100 * (run.progress ?? 0))} % of ${duration(3600 * run.hours)}` : ""}`;
}
export const meter = (run) => run.progress !== null && h("progress", { class: "bar", max: 1, value: run.progress, "aria-label": far(run) });

// Small images are shown pixel for pixel; photographs would look coarse.
export const grain = (side) => (side && side <= 40 ? "pixel" : "smooth");

export function toast(text, bad = false) {
  const end = stays(text, bad);
  setTimeout(end, bad ? 9000 : 3500);
}
// A notice that stays until the returned function is called.
export function stays(text, bad = false) {
  const node = h("div", { class: `toast ${bad ? "bad" : ""}` }, text);
  document.getElementById("toasts").append(node);
  return () => node.remove();
}
// For a button: it is disabled while the work runs, which takes seconds if networks are built.
export const once = (say, work) => async (event) => {
  const button = event.currentTarget, end = stays(say);
  button.disabled = true;
  try { await work(); } catch (error) { complain(error); } finally { button.disabled = false; end(); }
};
export const complain = (error) => { if (error?.name !== "AbortError") toast(error?.message ?? String(error), true); };

export function copyable(text, label) {
  const button = h("button", { class: "button small", type: "button", "aria-label": `Copy ${label}`, onclick: async () => {
    await copy(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  // A line breaks between an option with its value and the next, not within.
  const words = text.split(/ (?=--)/).flatMap((word, i) => [i ? " " : "", h("span", { class: i && word.length < 40 ? "nowrap" : "" }, word.split(/(?<=[./=_])(?=\w|\[)/).flatMap((part, k) => [k ? h("wbr") : "", part]))]);
  return h("div", { class: "copy" }, h("pre", { tabindex: "0", "aria-label": label }, words), button);
}
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).catch(() => fallback(text));
  fallback(text);
}
function fallback(text) {
  const area = h("textarea", { class: "visually-hidden" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// Quoted as one word for a shell; control characters are escaped, because a terminal would act on them.
export function quoted(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (!/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  const bytes = (found) => [...new TextEncoder().encode(found)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  return `$'${text.replace(/['\\]/g, "\\$&").replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, bytes)}'`;
}

export function menu(label, entries, name = "save") {
  const list = h("div", { role: "menu", hidden: true });
  const button = h("button", { class: "button", type: "button", "aria-haspopup": "menu", "aria-expanded": "false", onclick: () => show(list.hidden) }, icon(name), label);
  const show = (open) => { list.hidden = !open; button.setAttribute("aria-expanded", String(open)); if (open) list.firstChild.focus(); };
  for (const [text, act] of entries) list.append(h("button", { type: "button", role: "menuitem", onclick: () => { show(false); act(); } }, text));
  const box = h("div", { class: "menu" }, button, list);
  box.addEventListener("focusout", (event) => { if (!box.contains(event.relatedTarget)) show(false); });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { show(false); button.focus(); }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && !list.hidden) { const all = [...list.children]; all[(all.indexOf(document.activeElement) + step + all.length) % all.length].focus(); event.preventDefault(); }
  });
  return box;
}

export const typing = (event) => event.target instanceof HTMLElement && (event.target.matches("input:not([type=range]):not([type=checkbox]):not([type=radio]), select, textarea") || event.ctrlKey || event.metaKey || event.altKey);
export const keep = (key, value) => { try { localStorage.setItem(`steadygan:${key}`, JSON.stringify(value)); } catch { /* a browser that keeps nothing */ } };
export const kept = (key, otherwise) => { try { return JSON.parse(localStorage.getItem(`steadygan:${key}`)) ?? otherwise; } catch { return otherwise; } };
