// Health in a sentence, its numbers, and suggested changes.

import { copyable, count, duration, fill, h, icon, number } from "../lib/dom.js";
import { get } from "../lib/api.js";
import { Sync } from "../lib/chart.js";
import { toneOf } from "../lib/judged.js";
import { about } from "../lib/store.js";
import { groupsOf, panels } from "./curves.js";

const NAMES = { first: "first score", last: "newest score", best: "best score", lines: "lines read", G_diversity_best: "diversity at its best", "D/adversarial": "loss of D", "D/adversarial_most": "greatest loss of D", rollbacks: "rollbacks", skipped: "steps skipped", D_accuracy_train: "D on training reals", D_accuracy_heldout: "D on held-out reals", D_accuracy_fake: "D on fakes", G_diversity: "diversity", images_per_s: "images/s" };

export function health(body, run) {
  const card = h("section", { class: "panel", "aria-label": "Verdict" }, h("p", { class: "muted" }, "Looking …"));
  const figures = h("dl", { class: "figures" });
  const sync = new Sync();
  const wanted = groupsOf(run.columns).filter((group) => ["losses", "accuracy", "diversity"].includes(group.key));
  const charts = panels(run, wanted, sync);
  fill(body, card, h("section", { class: "panel stack" }, h("h2", null, "State"), figures), h("div", { class: "charts three" }, charts.nodes));
  charts.refresh({});

  const ask = () => get(`/api/runs/${run.id}/health`).then(verdict).catch((error) => fill(card, h("p", { class: "note warn" }, error.message)));

  function verdict(found) {
    const tone = toneOf(found.kind);
    card.className = `panel verdict ${tone}`;
    const { advice } = found, numbers = Object.entries(found.numbers);
    fill(card, h("div", { class: "sign" }, icon(tone)), h("div", { class: "stack" },
      h("h2", { class: "said" }, found.sentence),
      found.since_step !== null && found.since_step !== undefined && tone !== "good" && h("p", { class: "muted" }, `Since step ${count(found.since_step)}.`),
      numbers.length > 0 && h("dl", { class: "figures" }, numbers.map(([name, value]) => h("div", null, h("dt", null, NAMES[name] ?? name.replaceAll("_", " ")), h("dd", null, typeof value === "number" ? number(value) : String(value))))),
      advice.length > 0 && h("div", { class: "stack tight" }, h("h3", null, "What to change"), advice.map((one) => tip(one)))));
  }
  const tip = (one) => h("div", { class: "stack tight" }, copyable(one.override, "the setting"), h("p", { class: "small muted" }, one.why, about.control && run.checkpoints.length > 0 && [" · ", one.branch ? h("a", { href: `#/run/${run.id}/steer/${encodeURIComponent(one.override)}` }, "branch with this") : "needs a new run"]));

  function standing(found) {
    const next = found.checkpoint_every && ["running", "starting"].includes(found.state) ? (Math.floor(found.step / found.checkpoint_every) + 1) * found.checkpoint_every : null;
    const perStep = found.seconds_a_step;
    const rows = [
      ["time left", ["running", "starting"].includes(found.state) ? duration(found.seconds_left) : null],
      ["next checkpoint", next ? `step ${count(Math.min(next, found.steps ?? next))}${perStep ? `, in ${duration(perStep * (next - found.step))}` : ""}` : null],
      ["newest checkpoint", found.checkpoints.length ? `step ${count(found.checkpoints.at(-1).step)}` : "none yet"],
      ["best by score", found.checkpoints.some((one) => one.best) ? `step ${count(found.checkpoints.find((one) => one.best).step)}` : null],
      ["steps skipped", number(found.skipped ?? 0)],
      ["rollbacks, collapses", `${found.events.filter((one) => one.event === "rollback").length}, ${found.events.filter((one) => one.event === "collapse").length}`],
    ];
    fill(figures, rows.filter(([, value]) => value !== null).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
  }
  ask();
  standing(run);
  return { leave: charts.close, changed(found) { Object.assign(run, found); ask(); standing(found); charts.refresh({}); } };
}
