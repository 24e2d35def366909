// A run's state in a pill; for a run that ended badly, the verdict instead.

import { get } from "./api.js";
import { fill, h, icon, pill, stateWord } from "./dom.js";

const SIGNS = { fine: "good", "cannot tell": "calm", memorises: "warn", "ignores images": "warn", "augmentations leak": "warn", "nothing is learnt": "warn" };
export const toneOf = (kind) => SIGNS[kind] ?? "bad";

const ENDED = ["finished", "stopped"], CLASSES = { warn: "lost", bad: "failed" };
const known = new Map(), asks = new WeakMap();

// A verdict reads all of a run's records, so it is requested only when its pill becomes visible.
const sight = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => { sight.unobserve(target); asks.get(target)(); }));

export function judged(run) {
  const node = h("span", null, pill(run.state)), key = `${run.id} ${run.changed} ${run.score?.count}`;
  if (!ENDED.includes(run.state)) return node;
  function show({ kind, sentence }) {
    const tone = toneOf(kind);
    if (CLASSES[tone]) fill(node, h("span", { class: `state ${CLASSES[tone]}`, title: `${stateWord(run.state)}. ${sentence}` }, icon(tone), kind));
  }
  if (known.has(key)) show(known.get(key));
  else {
    asks.set(node, () => get(`/api/runs/${run.id}/health`).then((found) => { known.set(key, found); show(found); }).catch(() => { /* the page of its health says why */ }));
    sight.observe(node);
  }
  return node;
}
