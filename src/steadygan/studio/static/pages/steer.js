// Steering a run: requests that its loop reads between steps, and runs that start from it.

import { copyable, count, complain, fill, h, icon, once, pill, quoted, stateWord, toast } from "../lib/dom.js";
import { get, post } from "../lib/api.js";
import { about, runs } from "../lib/store.js";
import { checkpointChoice, renewChoice } from "./play.js";

export function jobList(node) {
  let clock;
  const list = h("div", { class: "jobs" }), shown = new Map();
  const show = async () => {
    clearTimeout(clock);
    const { jobs } = await get("/api/control/jobs").catch(() => ({ jobs: [] }));
    if (!node.isConnected) return;
    if (!node.firstChild && jobs.length) fill(node, h("h2", null, "Started from here"), list);
    const wanted = jobs.slice(0, 8).map((job) => {
      const key = `${job.run} ${job.began}`, one = shown.get(key) ?? item();
      shown.set(key, one);
      one.show(job);
      return one.node;
    });
    if (wanted.some((one, i) => list.children[i] !== one)) list.replaceChildren(...wanted);
    clock = setTimeout(show, 3000);
  };
  queueMicrotask(show);
  return { show, stop: () => clearTimeout(clock) };
}

// A training started here: its state, its run once created, its output. Open sections stay open.
function item() {
  const state = h("span"), link = h("span"), command = h("p", { class: "small mono muted" }), log = h("pre");
  const title = h("span"), details = h("details", null, h("summary", null, title, " ", state), h("div", { class: "stack tight" }, command, log));
  let last = "";
  function show(job) {
    const word = job.state === "running" ? "running" : job.status === 0 ? "finished" : job.status === 130 ? "stopped" : "failed";
    const now = JSON.stringify([job, runs.has(job.id)]);
    if (now === last) return;
    if (!last || (word === "failed" && !last.includes('"ended"'))) details.open = word === "failed";
    last = now;
    title.textContent = job.run;
    fill(state, pill(word));
    fill(link, runs.has(job.id) ? h("a", { href: `#/run/${job.id}` }, "open the run") : word === "running" && h("span", { class: "small muted" }, "getting ready"));
    command.textContent = job.command;
    log.textContent = job.log.trim() || "nothing printed yet";
  }
  return { node: h("div", null, details, link), show };
}

export function settingsFrom(text) {
  const settings = {};
  for (const line of text.split(/\s+/).filter(Boolean)) {
    const [key, value] = line.split(/=(.*)/s);
    if (value === undefined) throw new Error(`${line} is not of the form key=value`);
    try { settings[key] = JSON.parse(value.replace(/[a-z]+(?=[,\]])/g, (word) => (["true", "false", "null"].includes(word) ? word : `"${word}"`))); } catch { throw new Error(`${key}: ${value} is not a number, true, false or a list`); }
  }
  return settings;
}

export function steer(body, run, { more: [wanted] }) {
  const actions = h("div", { class: "row" }), jobs = h("section", { class: "panel stack" }), branching = h("div", { class: "stack" });
  const ask = (what) => post(`/api/runs/${run.id}/ask`, { do: what }).then(() => toast(`Asked to ${what}: takes effect at the run’s next step`)).catch(complain);
  const more = h("input", { type: "number", value: (run.steps ?? run.step) + Math.max(100, Math.round((run.steps ?? 1000) / 2)), "aria-label": "Steps to train to" });
  const name = h("input", { type: "text", value: `${run.name.split("/").at(-1).replace(/[^\w.-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 56) || "a"}-branch`, "aria-label": "Name of the new run" }), changes = h("textarea", { rows: 3, spellcheck: "false", placeholder: "optim.g.lr=0.0001 objective.terms.bcr.real=5", "aria-label": "Changed settings", value: wanted ? [wanted, run.checkpoints.at(-1)?.step >= run.steps && `train.steps=${more.value}`].filter(Boolean).join(" ") : "" });
  let choice = null, shown = null;
  const act = (path, read) => once("Starting …", async () => { await post(path, read()); toast("Started"); await started.show(); });
  const onward = h("button", { class: "button primary", type: "button", onclick: act(`/api/runs/${run.id}/resume`, () => ({ steps: Number(more.value) })) }, "Train on");

  function checkpoints(now) {
    if (choice) { renewChoice(choice, now); return; }
    choice = now.checkpoints.length ? checkpointChoice(now, () => {}) : null;
    fill(branching, choice ? [h("div", { class: "fields" }, h("label", { class: "field" }, "from checkpoint", choice), h("label", { class: "field" }, "name of the new run", name)), h("label", { class: "field" }, "changed settings, key=value", changes), h("div", { class: "row" }, h("button", { class: "button primary", type: "button", onclick: act(`/api/runs/${run.id}/branch`, () => ({ step: Number(choice.value), name: name.value, settings: settingsFrom(changes.value) })) }, "Branch and train"))] : h("p", { class: "note" }, `There is no checkpoint yet; the first comes at step ${count(now.checkpoint_every ?? 0)}.`));
  }
  function when(now) {
    checkpoints(now);
    more.min = now.step + 1;
    const live = ["running", "starting"].includes(now.state);
    onward.disabled = !choice || live || now.state === "paused";
    if (now.state === shown) return;
    shown = now.state;
    fill(actions,
      h("button", { class: "button danger", type: "button", disabled: !live && now.state !== "paused", onclick: () => ask("stop") }, icon("stopped"), "Stop and save"),
      now.state === "paused" ? h("button", { class: "button", type: "button", onclick: () => ask("resume") }, icon("play"), "End the pause") : h("button", { class: "button", type: "button", disabled: !live, onclick: () => ask("pause") }, icon("pause"), "Pause"),
      !live && now.state !== "paused" && h("span", { class: "small muted" }, `Nothing to stop: ${stateWord(now.state)}.`));
  }
  when(run);
  fill(body, h("div", { class: "steering" }, h("div", { class: "stack" },
    h("section", { class: "panel stack" }, h("h2", null, "This run"), actions, h("p", { class: "small muted" }, "A request is a small file in the run’s directory; the training takes it at its next step. The same from a terminal:"), copyable(["stop", "pause", "resume"].map((what) => `${about.program} ${what} ${quoted(run.place)}`).join("\n") + `\n${about.program} branch ${quoted(run.place)} KEY=VALUE --out NEW`, "the commands")),
    h("section", { class: "panel stack" }, h("h2", null, "Train on"), h("p", { class: "muted" }, "Resumes the run from its newest checkpoint."), h("div", { class: "row" }, h("label", { class: "check" }, "to step", more), onward))),
    h("section", { class: "panel stack" }, h("h2", null, "Branch"), h("p", { class: "muted" }, "Starts a new run from a checkpoint of this one, with changed settings. This run is not changed."), branching)),
    jobs);
  const started = jobList(jobs);
  return { leave: started.stop, changed: when };
}
