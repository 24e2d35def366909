// Several runs: the same latents side by side, curves overlaid, settings that differ, scores by protocol.

import { complain, count, fill, grain, h, number, s } from "../lib/dom.js";
import { get } from "../lib/api.js";
import { Chart, Sync } from "../lib/chart.js";
import { judged } from "../lib/judged.js";
import { look, middle, nearestIndex } from "../lib/scale.js";
import { onRuns, runs } from "../lib/store.js";
import { groupsOf, protocolOf, scoreData, withSpread } from "./curves.js";
import { Sheets, draw } from "./time.js";

const swatch = (i) => s("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" }, s("line", { class: `k${look(i).kind} d${look(i).dash}`, x1: 0, x2: 22, y1: 5, y2: 5 }));

export function compare(main, [list = ""]) {
  const ids = list.split(",").filter((id) => runs.has(id));
  if (ids.length < 2) {
    const chips = h("div", { class: "chips" }), chosen = new Set(ids), go = h("a", { class: "button primary", href: "#/" }, "Compare");
    const show = () => { fill(chips, [...runs.values()].map((run) => h("button", { class: "chip", type: "button", "aria-pressed": String(chosen.has(run.id)), onclick: () => { if (!chosen.delete(run.id)) chosen.add(run.id); show(); } }, run.name))); go.href = `#/compare/${[...chosen].join(",")}`; go.hidden = chosen.size < 2; };
    fill(main, h("div", { class: "stack" }, h("h1", null, "Compare"), h("p", { class: "muted" }, "Choose two runs or more."), chips, h("div", null, go)));
    show();
    return onRuns(show);
  }
  fill(main, h("p", { class: "muted" }, "Opening …"));
  let leave = null, gone = false;
  get(`/api/compare?runs=${ids.join(",")}`).then((found) => { if (!gone) leave = page(main, found); }).catch((error) => fill(main, h("div", { class: "empty" }, h("h2", null, "These runs cannot be compared"), h("p", null, error.message))));
  return () => { gone = true; leave?.(); };
}

function page(main, found) {
  const { runs: all } = found, sync = new Sync();
  const sheets = all.map((run) => new Sheets(run.id)), canvases = all.map((run) => h("canvas", { class: grain(run.size), role: "img", width: 1, height: 1 })), captions = all.map(() => h("figcaption", { class: "small muted num" }));
  const most = Math.max(1, ...all.map((run) => run.steps_of_sheets.at(-1) ?? 0));
  const slider = h("input", { type: "range", min: 0, max: most, value: most, step: Math.max(1, Math.round(most / 400)), "aria-label": "Step", oninput: () => at(Number(slider.value)) }), said = h("span", { class: "num muted nowrap" });
  const grids = h("div", { class: "sheets" }, all.map((run, i) => h("figure", null, h("div", { class: "row spread" }, h("a", { href: `#/run/${run.id}` }, swatch(i), run.name), judged(run)), run.steps_of_sheets.length ? canvases[i] : h("p", { class: "note" }, "no samples"), captions[i])));
  function at(step) {
    said.textContent = `step ${count(step)}`;
    all.forEach(async (run, i) => {
      const steps = run.steps_of_sheets;
      if (!steps.length) return;
      const mine = steps[nearestIndex(steps, step)];
      canvases[i].wanted = mine;
      try { const image = await sheets[i].get(mine); if (canvases[i].wanted !== mine) return; draw(canvases[i], image); captions[i].textContent = mine === step ? `step ${count(mine)}` : `nearest: step ${count(mine)}`; canvases[i].setAttribute("aria-label", `${run.name} at step ${mine}`); } catch (error) { captions[i].textContent = error.message; }
    });
  }
  const groups = groupsOf(found.names).filter(({ key }) => !key.startsWith("sigma") && !key.startsWith("grad-"));
  const names = groups.flatMap((group) => group.columns).filter((name) => name !== "skipped").slice(0, 24);
  const banded = found.groups.some((group, i) => group !== i);
  const bands = h("button", { class: "button", type: "button", "aria-pressed": String(banded), hidden: !banded, onclick: () => { const on = bands.getAttribute("aria-pressed") !== "true"; bands.setAttribute("aria-pressed", String(on)); redraw(); } }, "Seeds as bands");
  const log = h("button", { class: "button", type: "button", "aria-pressed": "false", onclick: () => { const on = log.getAttribute("aria-pressed") !== "true"; log.setAttribute("aria-pressed", String(on)); redraw(); } }, "Log scale");
  const smooth = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0.6, "aria-label": "Smoothing", oninput: redraw });
  const charts = names.map((name) => ({ name, chart: new Chart({ title: name.replaceAll("_", " "), sync, height: 190 }) }));
  const scoreCharts = found.columns.map((column, i) => ({ i, column, chart: new Chart({ title: column.name, sync, height: 190, note: protocolOf(column.protocol) }) }));
  let columns = all.map(() => ({}));

  async function fetchAll() {
    const query = new URLSearchParams({ points: 300 });
    const spans = found.spans.filter(Boolean);
    const [first, last] = sync.range ?? [Math.min(...spans.map(([a]) => a)), Math.max(...spans.map(([, b]) => b))];
    if (Number.isFinite(first)) { query.set("from", Math.floor(first)); query.set("to", Math.ceil(last)); }
    for (const name of names) query.append("name", name);
    columns = await Promise.all(all.map((run) => get(`/api/runs/${run.id}/series?${query}`).then((answer) => answer.columns).catch((error) => { complain(error); return {}; })));
    redraw();
  }
  function redraw() {
    const options = { log: log.getAttribute("aria-pressed") === "true", smooth: Number(smooth.value) }, grouped = bands.getAttribute("aria-pressed") === "true";
    for (const { name, chart } of charts) chart.update({ ...options, series: seriesOf((i) => columns[i][name], grouped) });
    for (const { column, chart } of scoreCharts) chart.update({ log: options.log, series: seriesOf((i) => { const one = found.scores[i].find((score) => score.name === column.name && JSON.stringify(score.protocol) === JSON.stringify(column.protocol)) ?? found.scores[i].find((score) => score.name === column.name && score.identity === column.identity); return one && scoreData(one.points); }, grouped) });
  }
  function seriesOf(dataOf, grouped) {
    if (!grouped) return all.map((run, i) => ({ label: run.name, data: dataOf(i), ...look(i) })).filter((one) => one.data?.steps.length);
    return [...new Set(found.groups)].map((group) => {
      const members = all.map((_, i) => i).filter((i) => found.groups[i] === group && dataOf(i)?.steps.length), datas = members.map(dataOf);
      const name = members.length < 2 ? all[members[0] ?? group].name : `${all[members[0]].name} and ${members.length - 1} more seed${members.length > 2 ? "s" : ""}`;
      return { label: name, data: datas.length > 1 ? band(datas) : datas[0], ...look(group) };
    }).filter((one) => one.data?.steps.length);
  }
  sync.onRange = () => fetchAll().catch(complain);
  fill(main, h("div", { class: "stack" },
    h("h1", null, `${all.length} runs`),
    h("section", { class: "panel stack" }, h("h2", null, "The same step"), h("div", { class: "row" }, h("div", { class: "grow" }, slider), said), grids),
    h("section", { class: "panel stack" }, h("h2", null, "Scores"), scores(found)),
    h("section", { class: "panel stack" }, h("h2", null, "What differs"), differences(found)),
    h("div", { class: "row panel" }, h("h2", null, "Curves"), h("span", { class: "grow" }), h("label", { class: "check small muted" }, "smoothing", smooth), log, bands),
    h("div", { class: "charts" }, scoreCharts.map(({ chart }) => chart.node), charts.map(({ chart }) => chart.node))));
  at(most);
  fetchAll().catch(complain);
  return () => { for (const { chart } of [...charts, ...scoreCharts]) chart.close(); };
}

// The mean over seeds ± one sample standard deviation, up to the shortest run's last step.
export function band(datas) {
  const [first, ...rest] = datas, end = Math.min(...datas.map((data) => data.steps.at(-1)));
  const out = { steps: [], mean: [], low: [], high: [] };
  first.steps.forEach((step, i) => {
    if (step > end) return;
    const values = [middle(first)[i], ...rest.map((data) => middle(data)[nearestIndex(data.steps, step)])].filter((value) => value !== null && value !== undefined);
    if (!values.length) return;
    const mean = values.reduce((a, b) => a + b, 0) / values.length, spread = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(1, values.length - 1));
    out.steps.push(step); out.mean.push(mean); out.low.push(mean - spread); out.high.push(mean + spread);
  });
  return out;
}

function scores({ runs: all, columns, table }) {
  if (!columns.length) return h("p", { class: "muted" }, "None of these runs was scored.");
  const names = columns.map((column) => column.name), several = names.some((name, i) => names.indexOf(name) !== i);
  return [several && h("p", { class: "note warn" }, "Some scores were taken by different protocols: each protocol has its own column, and only one column can be compared."),
    h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, h("th", null, "run"), columns.map((column) => h("th", { class: "num" }, column.name, h("br"), h("span", { class: "faint" }, protocolOf(column.protocol)))))), h("tbody", null, all.map((run, i) => h("tr", null, h("td", null, swatch(i), run.name), table[i].map((cell) => {
      return h("td", { class: "num" }, cell ? [h(cell.wins ? "b" : "span", null, withSpread(cell.last), cell.wins && " ★"), cell.best && cell.best[0] !== cell.last[0] && h("span", { class: "small muted" }, h("br"), `best ${number(cell.best[1])} at ${count(cell.best[0])}`)] : "–");
    })))))) ];
}

function differences({ runs: all, different }) {
  if (!different.length) return h("p", { class: "muted" }, "Nothing: their configurations are the same.");
  const text = (value) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));
  return h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, h("th", null, "key"), all.map((run, i) => h("th", null, swatch(i), run.name)))), h("tbody", null, different.map(({ key, values }) => h("tr", null, h("td", { class: "mono" }, key), values.map((value) => h("td", { class: "mono" }, text(value))))))));
}
