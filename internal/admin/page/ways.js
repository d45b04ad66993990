// What /status says, as ways: listener, protocol, block, target, and the bytes a second of the last seconds.

const WINDOW = 5000; // milliseconds that a rate looks back

// Window remembers counters, to tell how fast they grow. A counter that falls has begun anew.
export class Window {
  #samples = [];

  add(status, at) {
    const counters = new Map();
    for (const f of status.flows) {
      sum(counters, inOf(f), f.in_bytes);
      sum(counters, outOf(f), f.out_bytes);
      sum(counters, "started", f.started);
    }
    for (const r of status.grpc?.routes ?? []) sum(counters, routeOf(r), r.started);
    for (const b of status.grpc?.backends ?? []) {
      sum(counters, "calls", b.started);
      for (const t of b.targets ?? []) sum(counters, targetOf(b, t), t.started);
    }
    for (const w of status.migration?.ways ?? []) sum(counters, wayOf(w), w.sent);
    this.#samples.push({ at, counters });
    while (this.#samples.length > 2 && at - this.#samples[1].at >= WINDOW) this.#samples.shift();
  }

  forget() { this.#samples = []; }

  // rate is how much a counter grew a second.
  rate(key) {
    const first = this.#samples[0], last = this.#samples.at(-1);
    if (!first || first === last) return 0;
    const grown = (last.counters.get(key) ?? 0) - (first.counters.get(key) ?? 0);
    return Math.max(0, grown) * 1000 / (last.at - first.at);
  }
}

const sum = (counters, key, n) => counters.set(key, (counters.get(key) ?? 0) + n);
const key = (...parts) => JSON.stringify(parts);
const inOf = (f) => key("in", f.listener, f.protocol, f.block, f.target);
const outOf = (f) => key("out", f.listener, f.protocol, f.block, f.target);
const routeOf = (r) => key("route", r.route, r.backend);
const targetOf = (b, t) => key("target", b.name, t.address);
const wayOf = (w) => key("way", w.block, w.backend);

// ways are all that /status knows of, in the order of the configuration. What is counted by connection as far as a block is
// divided from there by what went on: calls by route and target, messages by backend, sessions.
export function ways(status, window) {
  const all = [];
  for (const f of status.flows) {
    const input = window.rate(inOf(f)), output = window.rate(outOf(f));
    const way = { listener: f.listener || "another", protocol: f.protocol || "any", block: f.block, target: f.target ?? "", open: f.open,
      come: f.open, rate: input + output };
    const parts = partsOf(status, window, f);
    const weights = parts.reduce((all, p) => all + p.weight, 0);
    for (const [i, p] of parts.entries()) {
      const share = weights > 0 ? p.weight / weights : 1 / parts.length;
      all.push({ ...way, ...p, rate: way.rate * share, shared: parts.length > 1, come: i === 0 ? f.open : 0 });
    }
    if (parts.length === 0) all.push(way);
  }
  return all;
}

// partsOf is where a flow goes on to from its block.
function partsOf(status, window, f) {
  const grpc = status.grpc;
  if (f.block === "grpc" && grpc) {
    const backends = new Map((grpc.backends ?? []).map((b) => [b.name, b]));
    return (grpc.routes ?? []).flatMap((r) => {
      const b = backends.get(r.backend);
      const calls = window.rate(routeOf(r)) + (b && b.started > 0 ? b.active * r.started / b.started : 0);
      const targets = b?.targets ?? [];
      if (targets.length === 0) return [{ block: r.route, target: r.backend, weight: calls }];
      const loads = targets.map((t) => window.rate(targetOf(b, t)) + t.active);
      const load = loads.reduce((all, l) => all + l, 0);
      return targets.map((t, i) => ({ block: r.route, target: r.backend, detail: t.address,
        weight: calls * (load > 0 ? loads[i] / load : 1 / targets.length) }));
    });
  }
  if (f.block === "http" && status.sockjs?.length > 0) {
    return status.sockjs.map((s) => ({ block: s.prefix, target: s.programs === 1 ? "1 program" : s.programs + " programs", detail: "PUSH and PULL",
      weight: Object.values(s.sessions).reduce((all, n) => all + n, 0) }));
  }
  return (status.migration?.ways ?? []).filter((w) => w.block === f.block).map((w) => {
    const targets = grpc?.backends?.find((b) => b.name === w.backend)?.targets ?? [];
    return { target: w.backend, detail: targets.length === 1 ? targets[0].address : undefined, weight: window.rate(wayOf(w)) };
  });
}

// figures are the sums of all ways, a second.
export function figures(status, window) {
  let input = 0, output = 0, open = 0;
  for (const f of status.flows) {
    input += window.rate(inOf(f));
    output += window.rate(outOf(f));
    open += f.open;
  }
  return { input, output, open, started: window.rate("started"), calls: window.rate("calls") };
}

export const bytes = (n) => scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
export const count = (n) => n < 100 && n % 1 !== 0 ? n.toFixed(1) : Math.round(n).toLocaleString("en");

function scaled(n, base, units) {
  let unit = 0;
  for (; n >= 999.5 && unit < units.length - 1; unit++) n /= base;
  return (unit === 0 || n >= 99.5 ? Math.round(n) : n.toPrecision(2)) + " " + units[unit];
}
