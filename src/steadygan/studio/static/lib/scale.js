// Maps numbers to pixels, and chooses an axis's ticks.

export function ticks(low, high, about) {
  const span = high - low;
  if (!(span > 0) || !(span > Math.abs(high) * 1e-12)) return [low];
  const rough = span / about, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((size) => size >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

export function powers(low, high) {
  const found = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
    const value = 10 ** p;
    if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
  }
  if (found.length >= 2) return found;
  return ticks(low, high, 4).filter((value) => value > 0);
}

export function short(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))}G`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential(0).replace("e-", "e−");
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

// The bias-corrected exponential moving average; gaps stay gaps.
export function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0, mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + value * (1 - weight);
    mass = mass * weight + (1 - weight);
    return sum / mass;
  });
}

export const middle = (data) => data.mean ?? data.values ?? [];

export function nearestIndex(steps, step) {
  let low = 0, high = steps.length - 1;
  if (high < 0) return -1;
  while (low < high) {
    const half = (low + high) >> 1;
    if (steps[half] < step) low = half + 1; else high = half;
  }
  return low > 0 && Math.abs(steps[low - 1] - step) <= Math.abs(steps[low] - step) ? low - 1 : low;
}

// The colour and dashes of curve number `i`. Colours with the same dashes can be told apart without red, green or blue.
const DASHES = [1, 2, 3, 4, 3, 2, 4, 1];
export const look = (i) => ({ kind: (i % 8) + 1, dash: ((DASHES[i % 8] - 1 + Math.floor(i / 8)) % 4) + 1 });
