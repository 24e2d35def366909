// All runs, newest first.

import { ago, count, duration, far, fill, h, keep, kept, meter, number, stateWord } from "../lib/dom.js";
import { spark } from "../lib/chart.js";
import { judged } from "../lib/judged.js";
import { about, onRuns, runs, tray, unread } from "../lib/store.js";

const ORDERS = { newest: ["newest first", (a, b) => b.started - a.started], changed: ["changed last", (a, b) => b.changed - a.changed], name: ["by name", (a, b) => a.name.localeCompare(b.name, "en", { numeric: true })], score: ["best score", byScore] };

// Only scores of one name can be ordered.
function byScore(a, b) {
  if (!a.score || !b.score) return !a.score - !b.score;
  return a.score.name.localeCompare(b.score.name) || (a.score.cost ?? Infinity) - (b.score.cost ?? Infinity);
}

export function home(main) {
  const filter = { state: null, text: "", order: kept("order", "newest") };
  const cards = new Map();
  const list = h("div", { class: "cards" }), chips = h("div", { class: "chips", role: "group", "aria-label": "Filter by state" }), said = h("p", { class: "muted" });
  const search = h("input", { type: "search", placeholder: "Search runs", "aria-label": "Search runs", oninput: () => { filter.text = search.value.toLowerCase(); show(); } });
  const order = h("select", { "aria-label": "Order", onchange: () => { filter.order = order.value; keep("order", order.value); show(); } }, Object.entries(ORDERS).map(([key, [text]]) => h("option", { value: key, selected: key === filter.order }, text)));
  fill(main, h("div", { class: "stack" }, h("div", { class: "row spread" }, h("div", null, h("h1", null, "Runs"), said), h("div", { class: "row" }, search, order)), unread.length > 0 && h("p", { class: "note warn" }, `The studio has no permission to read ${unread.join(", ")}: change the permissions of ${unread.length > 1 ? "these folders" : "this folder"} to see the runs there.`), chips, list));

  function show() {
    const all = [...runs.values()];
    const states = new Map();
    for (const run of all) states.set(run.state, (states.get(run.state) ?? 0) + 1);
    if (filter.state && !states.has(filter.state)) filter.state = null;
    said.textContent = all.length ? `${count(all.length)} in ${about.directory}/` : "";
    fill(chips, states.size > 1 && [chip("all", null, all.length), ...[...states].sort().map(([state, number]) => chip(stateWord(state), state, number))]);
    const shown = all.filter((run) => (!filter.state || run.state === filter.state) && (!filter.text || `${run.name} ${run.objective}`.toLowerCase().includes(filter.text))).sort(ORDERS[filter.order][1]);
    if (!shown.length) {
      list.replaceChildren();
      list.className = "";
      fill(list, all.length ? h("div", { class: "empty" }, h("h2", null, "No run fits"), h("p", null, "Clear the search or choose another state.")) : empty());
      return;
    }
    list.className = shown.length < 4 ? "cards few" : "cards";
    const wanted = shown.map((run) => {
      const key = JSON.stringify([run, tray.has(run.id)]);
      if (!cards.has(run.id)) cards.set(run.id, card(run.id));
      const mine = cards.get(run.id);
      if (mine.key !== key) mine.update(run);
      mine.key = key;
      return mine.node;
    });
    if (wanted.length !== list.children.length || wanted.some((node, i) => list.children[i] !== node)) list.replaceChildren(...wanted);
  }
  const chip = (text, state, number) => h("button", { class: "chip", type: "button", "aria-pressed": String(filter.state === state), onclick: () => { filter.state = state; show(); } }, text, h("span", { class: "num" }, number));
  show();
  return onRuns(show);
}

const empty = () => h("div", { class: "empty" }, h("h2", null, "No runs here yet"), h("p", null, "Start one; it appears here automatically:"), h("pre", null, `${about.program} train digits`), about.control && h("a", { class: "button primary", href: "#/new" }, "New run"));

// A card's link and box stay the same elements while their texts change, so a click never hits a replaced element.
function card(id) {
  const link = h("a", { href: `#/run/${id}` }), words = h("p", { class: "small muted" }), check = h("input", { type: "checkbox", onchange: () => tray.toggle(id) }), state = h("span"), view = h("div", { class: "view" }), rest = h("div", { class: "stack tight growing" });
  const node = h("article", { class: "card" }, view, h("div", { class: "body" }, h("div", { class: "title" }, h("h2", null, link), state), h("div", { class: "title" }, words, h("label", { class: "check pick" }, check, "compare")), rest));
  let sheet = null;
  function update(run) {
    const shown = run.sheet ? `/api/runs/${id}/thumb?v=${run.sheet.version}` : "";
    check.checked = tray.has(id);
    check.setAttribute("aria-label", `Compare ${run.name}`);
    if (shown !== sheet) fill(view, shown ? h("img", { loading: "lazy", decoding: "async", alt: `Samples of ${run.name} at step ${count(run.sheet.step)}`, src: shown, onerror: (event) => event.target.replaceWith(h("span", null, "no readable sheet of samples")) }) : h("span", null, "no samples yet"));
    sheet = shown;
    link.title = run.name;
    const cut = run.name.lastIndexOf("/") + 1;
    fill(link, cut > 0 && h("span", { class: "folder" }, run.name.slice(0, cut)), run.name.slice(cut));
    words.textContent = run.objective || "configuration not readable";
    fill(state, judged(run));
    fill(rest, told(run));
  }
  return { node, update };
}

function told(run) {
  const left = run.state === "running" && duration(run.seconds_left), { score } = run;
  return [
    meter(run),
    h("p", { class: "small muted num" }, far(run), left ? ` · ${left} left` : "", run.images_per_s ? ` · ${number(run.images_per_s, 3)} images/s` : ""),
    run.message && ["collapsed", "failed", "lost"].includes(run.state) && h("p", { class: `note small ${run.state === "lost" ? "warn" : "bad"}`, title: run.message }, h("span", { class: "clamp" }, run.message)),
    h("div", { class: "facts" },
      h("div", null, score ? [h("span", { class: "small muted" }, score.name), h("br"), h("b", null, number(score.points.at(-1)[1]))] : h("span", { class: "small faint" }, "not scored yet")),
      score?.points.length > 1 ? spark(score.points, `${score.name} over ${score.count} evaluations`) : h("span", { class: "small faint" }, ago(run.started))),
  ];
}
