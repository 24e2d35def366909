// Requests to the server. Every URL is on this host.

import { stays } from "./dom.js";

async function checked(answer) {
  if (answer.ok) return answer;
  let text = `${answer.status} ${answer.statusText}`;
  try {
    const type = answer.headers.get("content-type") ?? "";
    text = type.includes("json") ? (await answer.json()).error : (await answer.text()).slice(0, 300) || text;
  } catch { /* the status says it */ }
  throw new Error(text);
}

// Replaces the browser's "Failed to fetch", which does not say that the server is gone.
const unanswered = (error) => { if (error.name === "AbortError") throw error; throw new Error("the studio does not answer; it may have been stopped"); };
export const get = async (path, signal) => (await checked(await fetch(path, { signal }).catch(unanswered))).json();
const send = async (path, body, signal) => checked(await fetch(path, { method: "POST", signal, body: JSON.stringify(body), headers: { "content-type": "application/json", "x-steadygan": "1" } }).catch(unanswered));
export const post = async (path, body, signal) => (await send(path, body, signal)).json();

// A length, JSON, then raw pixels (N, H, W, C).
export async function pixels(path, body, signal) {
  const buffer = await (await send(path, body, signal)).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { ...head, data: new Uint8Array(buffer, 4 + length) };
}

// Draws image number `index` of such a response on a canvas.
export function paint(canvas, { data, height, width, channels }, index) {
  const size = height * width, start = index * size * channels;
  const rgba = new Uint8ClampedArray(size * 4);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = data[start + i * channels + (channels === 1 ? 0 : c)];
    rgba[4 * i + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
}

function offer(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 20000);
}
const nameIn = (answer, otherwise) => /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") ?? "")?.[1] ?? otherwise;
async function save(asked, name = "steadygan") {
  let end = null;
  const patience = setTimeout(() => { end = stays("Making the file …"); }, 600);
  try {
    const answer = await checked(await asked);
    offer(await answer.blob(), nameIn(answer, name));
  } finally { clearTimeout(patience); end?.(); }
}
export const saveFrom = (path, name) => save(fetch(path).catch(unanswered), name);
export const savePosted = (path, body) => save(send(path, body));

// For sliders: one request at a time; of those made meanwhile, only the newest is sent.
export function latest(work) {
  let busy = false, waiting = null;
  return async function ask(...values) {
    if (busy) { waiting = values; return; }
    busy = true;
    try { await work(...values); } finally {
      busy = false;
      if (waiting) { const next = waiting; waiting = null; ask(...next); }
    }
  };
}
