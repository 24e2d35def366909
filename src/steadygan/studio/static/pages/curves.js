// Curves, in panels of related columns.

import { complain, count, fill, h, keep, kept, number } from "../lib/dom.js";
import { get } from "../lib/api.js";
import { Chart, Sync } from "../lib/chart.js";
import { look } from "../lib/scale.js";

const POINTS = 420;
const NICE = { D_accuracy_train: "on training reals", D_accuracy_heldout: "on held-out reals", D_accuracy_fake: "on fakes", G_diversity: "diversity" };

// The panels: [{key, title, columns, note, between}].
export function groupsOf(columns) {
  const rest = new Set(columns.filter((name) => !["images", "seconds"].includes(name)));
  const take = (test) => columns.filter((name) => rest.has(name) && test(name)).map((name) => { rest.delete(name); return name; });
  const groups = [];
  const put = (key, title, names, more = {}) => { if (names.length) groups.push({ key, title, columns: names, ...more }); };
  put("losses", "Adversarial losses", take((name) => /^[DG][^/]*\/adversarial/.test(name)), { note: "Neither should fall to zero or grow without bound; a slow drift is normal." });
  put("accuracy", "D’s accuracy", take((name) => name.startsWith("D_accuracy")), { note: "A widening gap between training and held-out reals is D memorising its data.", between: ["D_accuracy_train", "D_accuracy_heldout"] });
  put("diversity", "Diversity of the fakes", take((name) => name === "G_diversity"), { note: "The spread of the fakes as a share of the reals’: near 1 is good, near 0 is collapse." });
  put("gradients", "Gradient norms", take((name) => /\/grad_norm$/.test(name)));
  for (const player of ["D", "G"]) put(`terms-${player}`, `Terms of ${player}`, take((name) => name.startsWith(`${player}/`)));
  put("terms", "Other terms", take((name) => /^[A-Za-z_]+\//.test(name) && !/^(sigma|grad)\//.test(name)));
  for (const kind of ["sigma", "grad"]) {
    const title = kind === "sigma" ? "Singular values" : "Gradients by layer";
    const names = take((name) => name.startsWith(`${kind}/`));
    for (let first = 0; first < names.length; first += 8) put(`${kind}-${first}`, names.length > 8 ? `${title}, ${first + 1} to ${Math.min(names.length, first + 8)}` : title, names.slice(first, first + 8));
  }
  put("speed", "Images a second", take((name) => name === "images_per_s"));
  put("skipped", "Skipped phases", take((name) => name === "skipped"));
  put("rest", "Other values", [...rest]);
  return groups;
}

const TONES = { collapse: "bad", rollback: "warn" };
export const toneOfEvent = (event) => TONES[event.event] ?? "calm";
export const marksOf = (events) => events.map((event) => ({ step: event.step, kind: toneOfEvent(event), label: `${event.event}${event.text ? `: ${event.text}` : ""}` }));
const label = (name) => NICE[name] ?? name.replace(/^[DG]\//, (player) => `${player[0]} `).replaceAll("_", " ");

// Charts of one run for these panels; they fetch their own data.
export function panels(run, groups, sync) {
  const charts = groups.map((group) => ({ group, chart: new Chart({ title: group.title, sync, note: group.note, between: group.between?.map(label) }) }));
  const names = [...new Set(groups.flatMap((group) => group.columns))];
  let turn = 0, options = {}, controller = null, again;
  async function refresh(changes) {
    options = { ...options, ...changes };
    clearTimeout(again);
    if (!names.length) return;
    const now = ++turn;
    controller?.abort();
    controller = new AbortController();
    const query = new URLSearchParams({ points: POINTS });
    if (sync.range) { query.set("from", Math.floor(sync.range[0])); query.set("to", Math.ceil(sync.range[1])); }
    const found = {};
    for (let first = 0; first < names.length; first += 40) {
      const part = new URLSearchParams(query);
      for (const name of names.slice(first, first + 40)) part.append("name", name);
      const answer = await get(`/api/runs/${run.id}/series?${part}`, controller.signal).catch((error) => { complain(error); return null; });
      if (!answer || now !== turn) return;
      Object.assign(found, answer.columns);
      if (!answer.exact) again = setTimeout(() => refresh({}), 1500);
      options.onExact?.(answer.exact);
    }
    for (const { group, chart } of charts) chart.update({ ...pick(options), marks: marksOf(run.events), series: group.columns.map((name, i) => ({ label: label(name), data: found[name], ...look(i) })) });
  }
  const pick = ({ log = false, smooth = 0 }) => ({ log, smooth });
  const restyle = (changes) => { options = { ...options, ...changes }; for (const { chart } of charts) chart.update(pick(options)); };
  return { nodes: charts.map(({ chart }) => chart.node), charts: charts.map(({ chart }) => chart), refresh, restyle, close() { turn++; clearTimeout(again); controller?.abort(); charts.forEach(({ chart }) => chart.close()); } };
}

export function protocolOf(protocol) {
  return [protocol.name, protocol.num_fake && `${protocol.num_fake} fakes`, protocol.num_real && `${protocol.num_real} reals`, protocol.truncation && `truncation ${protocol.truncation}`, protocol.weights].filter(Boolean).join(", ");
}

// A point has a step and a value, and the ends of its interval, if any.
export const scoreData = (points) => ({ steps: points.map(([step]) => step), values: points.map(([, value]) => value), ...(points.some((point) => point.length > 2) && { low: points.map((point) => point[2] ?? point[1]), high: points.map((point) => point[3] ?? point[1]) }) });
export const withSpread = ([, value, low, high]) => `${number(value)}${high === undefined ? "" : ` ± ${number((high - low) / 2, 2)}`}`;

export function curves(body, run) {
  const sync = new Sync();
  const options = { log: kept("log", false), smooth: kept("smooth", 0) };
  const measured = panels(run, groupsOf(run.columns), sync);
  const said = h("span", { class: "small muted", role: "status" });
  const slider = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: options.smooth, "aria-label": "Smoothing", oninput: () => { keep("smooth", Number(slider.value)); style({ smooth: Number(slider.value) }); } });
  const log = h("button", { class: "button", type: "button", "aria-pressed": String(options.log), onclick: () => { options.log = !options.log; keep("log", options.log); log.setAttribute("aria-pressed", String(options.log)); style({ log: options.log }); } }, "Log scale");
  const whole = h("button", { class: "button", type: "button", disabled: true, onclick: () => sync.zoom(null) }, "Show all steps");
  const scored = h("div", { class: "charts" }), once = h("section", { class: "panel stack", "aria-label": "Scores taken once" }), heading = h("h2", null, "Scores");
  let scoreCharts = [];

  function style(changes) {
    measured.restyle(changes);
    for (const chart of scoreCharts) chart.update({ log: changes.log ?? options.log });
    Object.assign(options, changes);
  }
  async function scores() {
    const { scores: all } = await get(`/api/runs/${run.id}/scores`);
    heading.hidden = !all.length;
    // A curve needs two points; a value measured once is shown as a number.
    const found = all.filter((one) => one.points.length > 1), single = all.filter((one) => one.points.length === 1);
    once.hidden = !single.length;
    const bySource = new Map();
    for (const one of single) { const source = `Once, at step ${count(one.points[0][0])}: ${protocolOf(one.protocol)}`; bySource.set(source, [...(bySource.get(source) ?? []), one]); }
    fill(once, [...bySource].map(([source, list]) => h("div", { class: "stack tight" }, h("p", { class: "small muted" }, source), h("dl", { class: "figures" }, list.map((one) => h("div", null, h("dt", null, one.name), h("dd", null, withSpread(one.points[0]))))))));
    const byName = Map.groupBy ? Map.groupBy(found, (one) => one.name) : found.reduce((map, one) => map.set(one.name, [...(map.get(one.name) ?? []), one]), new Map());
    if (scoreCharts.length !== byName.size) {
      scoreCharts.forEach((chart) => chart.close());
      scoreCharts = [...byName].map(([name, list]) => new Chart({ title: name, sync, note: `${{ lower: "Lower is better. ", higher: "Higher is better. ", "near one": "Near 1 is best. " }[list[0].better] ?? ""}${list.length === 1 ? `Protocol: ${protocolOf(list[0].protocol)}.` : "One curve per protocol: they are not comparable."}` }));
      fill(scored, scoreCharts.map((chart) => chart.node));
    }
    [...byName.values()].forEach((list, i) => scoreCharts[i].update({ log: options.log, marks: marksOf(run.events), series: list.map((one, k) => ({ label: list.length === 1 ? one.name : protocolOf(one.protocol), ...look(k), data: scoreData(one.points) })) }));
  }
  let later;
  sync.onRange = (range) => { whole.disabled = !range; clearTimeout(later); later = setTimeout(() => measured.refresh({}), 120); };
  fill(body, h("div", { class: "row panel" }, h("label", { class: "check small muted" }, "smoothing", slider), log, whole, h("span", { class: "grow" }), said), heading, scored, once, h("h2", null, "Training"), measured.nodes.length ? h("div", { class: "charts" }, measured.nodes) : h("div", { class: "empty" }, h("p", null, "Nothing was measured yet; the first line comes after train.log_every steps.")));
  measured.refresh({ ...options, onExact: (exact) => { said.textContent = exact ? (run.span ? `steps ${number(run.span[0])} to ${number(run.span[1])}` : "") : "the beginning of a very long file; the rest is loading"; } });
  scores().catch(complain);
  return { leave() { clearTimeout(later); measured.close(); scoreCharts.forEach((chart) => chart.close()); }, changed(found) { Object.assign(run, found); measured.refresh({}); scores().catch(complain); } };
}
