// One run: its header and its tabs.

import { complain, duration, far, fill, h, icon, meter, number, pill, typing } from "../lib/dom.js";
import { get } from "../lib/api.js";
import { toneOf } from "../lib/judged.js";
import { about, contact, onRuns, runs, tray } from "../lib/store.js";
import { time } from "./time.js";
import { health } from "./health.js";
import { curves } from "./curves.js";
import { play } from "./play.js";
import { neighbours } from "./neighbours.js";
import { facts } from "./facts.js";
import { steer } from "./steer.js";

const TABS = { time: ["Time", time], health: ["Health", health], curves: ["Curves", curves], play: ["Play", play], neighbours: ["Neighbours", neighbours], facts: ["Facts & export", facts], steer: ["Steer", steer] };

export function run(main, [id, tab = "time", ...more]) {
  if (!runs.has(id)) {
    fill(main, h("div", { class: "empty" }, h("h2", null, "No such run (any more)"), h("p", null, "It was moved or removed."), h("a", { class: "button", href: "#/" }, "All runs")));
    return null;
  }
  const names = Object.keys(TABS).filter((name) => name !== "steer" || about.control);
  if (!names.includes(tab)) tab = "time";
  const head = h("div", { class: "runhead" }), body = h("div", { class: "stack runbody" }, h("p", { class: "muted" }, "Opening …"));
  const bar = h("nav", { class: "tabs", "aria-label": "Views of this run" }, names.map((name) => h("a", { class: "tab", href: `#/run/${id}/${name}`, "aria-current": name === tab ? "page" : null }, TABS[name][0])));
  fill(main, head, bar, body);
  bar.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });

  let leave = null, gone = false, last = "", page = null;
  const detail = () => get(`/api/runs/${id}`);
  let failed = null;
  function open() {
    failed = null;
    detail().then((found) => {
      if (gone) return;
      page = TABS[tab][1](body, found, { detail, more }) ?? null;
      leave = page?.leave ?? null;
      troubles(head, found);
      if (tab !== "health") setTimeout(sign, 500);
    }).catch((error) => {
      failed = contact.opened;
      fill(body, h("div", { class: "empty" }, h("h2", null, "This run cannot be read"), h("p", null, error.message), h("button", { class: "button", type: "button", onclick: open }, "Try again")));
    });
  }
  open();

  // Points at the health tab of a run in trouble, whichever view comes first.
  async function sign() {
    if (gone) return;
    const { kind, sentence } = await get(`/api/runs/${id}/health`).catch(() => ({ kind: "cannot tell" })), tone = toneOf(kind);
    const link = bar.querySelector(`a[href$="/health"]`);
    if (gone || tone === "good" || tone === "calm") return;
    link.title = sentence;
    link.append(h("span", { class: `sign ${tone}`, role: "img", "aria-label": kind }, icon(tone)));
  }

  function show() {
    const now = runs.get(id);
    if (!now) { last = "removed"; fill(head, h("h1", null, "This run was removed"), h("p", { class: "muted" }, "It was moved, renamed or deleted; below is what was read before. ", h("a", { href: "#/" }, "All runs"))); return; }
    if (failed !== null && failed !== contact.opened) open();
    const key = JSON.stringify(now) + tray.has(id);
    if (key === last) return;
    const first = !last;
    last = key;
    headOf(head, now);
    if (!first && page?.changed) detail().then((found) => { if (!gone) { page.changed(found); troubles(head, found); } }).catch(complain);
  }
  function onKey(event) {
    if (typing(event)) return;
    const index = Number(event.key) - 1;
    if (names[index]) location.hash = `#/run/${id}/${names[index]}`;
  }
  addEventListener("keydown", onKey);
  show();
  const stop = onRuns(show);
  return () => { gone = true; stop(); removeEventListener("keydown", onKey); leave?.(); };
}

function headOf(head, run) {
  const left = ["running", "starting"].includes(run.state) && duration(run.seconds_left);
  const facts = [far(run), left && `${left} left`, run.images_per_s && `${number(run.images_per_s, 3)} images/s`, run.score && `${run.score.name} ${number(run.score.points.at(-1)[1])}`].filter(Boolean);
  const troubled = head.querySelector(".troubles"), had = head.querySelector("input");
  const check = had ?? h("input", { type: "checkbox", onchange: () => tray.toggle(run.id) });
  check.checked = tray.has(run.id);
  fill(head,
    h("div", { class: "row spread" }, h("div", { class: "row" }, h("h1", null, run.name), pill(run.state), run.request && h("span", { class: "state" }, `asked to ${run.request}`)), h("label", { class: "check small" }, check, "compare")),
    h("p", { class: "muted" }, run.objective),
    h("div", { class: "meter" }, meter(run), h("p", { class: "small muted num" }, facts.join(" · "))),
    run.message && h("p", { class: `note ${{ collapsed: "bad", failed: "bad", lost: "warn" }[run.state] ?? ""}` }, run.message), troubled);
}

function troubles(head, found) {
  head.querySelector(".troubles")?.remove();
  if (found.troubles.length) head.append(h("div", { class: "note warn troubles" }, "Some of this run cannot be read: ", found.troubles.join("; ")));
}
