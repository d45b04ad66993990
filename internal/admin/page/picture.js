// The picture: stages from left to right, or from top to bottom where it is narrow. Each way is a band of one width through
// all stages; a node is as wide as the ways through it. What is too much for a stage is drawn as one node.

const SVG = "http://www.w3.org/2000/svg";
const STAGES = [
  { title: "listener", name: (w) => w.listener },
  { title: "protocol", name: (w) => w.protocol },
  { title: "block", name: (w) => w.block },
  { title: "target", name: (w) => w.target || "—", detail: (w) => w.detail },
];
const BLOCK = 2; // from there on connections may share a way
const WIDE = { nodesMax: 12, across: 62, gap: 14, band: 130, thin: 2.5, idle: 1.5 };
const NARROW = { nodesMax: 3, across: 0, gap: 8, band: 60, thin: 2, idle: 1.25 };
const NARROW_BELOW = 640; // pixels
const BRIEF_BELOW = 175; // pixels of a node
const PAD = 6; // between a node's edge and its outermost band

// draw shows ways in svg. It keeps the elements that are there already, so that they can move.
export function draw(svg, ways, format) {
  const width = Math.max(280, svg.clientWidth);
  const vertical = width < NARROW_BELOW;
  const form = vertical ? NARROW : WIDE;
  const bands = merged(ways, form.nodesMax);
  const fastest = Math.max(1, bands.reduce((all, b) => all + b.rate, 0));
  for (const b of bands) b.width = (b.come > 0 || b.rate > 0 ? form.thin : form.idle) + form.band * b.rate / fastest;
  const stages = STAGES.map((_, i) => nodesOf(bands, i));
  const size = vertical ? placeDown(stages, width) : placeAcross(stages, width);
  spread(stages, vertical);
  svg.setAttribute("viewBox", `0 0 ${width} ${size}`);
  svg.setAttribute("height", size);
  const keep = new Set();
  const element = (id, kind, parent = svg) => {
    keep.add(id);
    let e = svg.elements?.get(id);
    if (!e) {
      e = document.createElementNS(SVG, kind);
      (svg.elements ??= new Map()).set(id, e);
    }
    if (e.parentNode !== parent) parent.append(e);
    return e;
  };
  const layer = (name) => element("layer " + name, "g");
  const [under, over] = [layer("bands"), layer("nodes")];
  for (const b of bands) drawBand(b, vertical, (id, kind) => element(id, kind, under));
  stages.forEach((nodes, i) => nodes.forEach((n) => drawNode(n, i, vertical, format, (id, kind, parent = over) => element(id, kind, parent))));
  if (!vertical) stages.forEach((nodes, i) => drawTitle(nodes[0], STAGES[i].title, (id, kind) => element(id, kind, over)));
  for (const [id, e] of svg.elements) {
    if (!keep.has(id)) {
      e.remove();
      svg.elements.delete(id);
    }
  }
}

// merged are the ways with at most max names a stage: the busiest keep theirs.
function merged(ways, max) {
  const names = STAGES.map((stage) => {
    const weights = new Map();
    for (const w of ways) {
      const id = idOf(stage, w);
      weights.set(id, (weights.get(id) ?? 0) + w.rate + w.open * 1e-3);
    }
    if (weights.size <= max) return { has: () => true };
    const kept = new Set([...weights].sort((a, b) => b[1] - a[1]).slice(0, max - 1).map(([id]) => id));
    return { has: (id) => kept.has(id), others: weights.size - kept.size };
  });
  const bands = new Map();
  for (const w of ways) {
    const path = STAGES.map((stage, i) => {
      const id = idOf(stage, w);
      return names[i].has(id) ? { id, name: stage.name(w), detail: stage.detail?.(w) } : { id: "others", name: names[i].others + " others", last: true };
    });
    const id = JSON.stringify(path.map((p) => p.id).concat(w.protocol));
    const b = bands.get(id) ?? { id, path, protocol: w.protocol, rate: 0, come: 0, open: 0 };
    b.rate += w.rate;
    b.come += w.come;
    if (!w.shared) b.open += w.open;
    bands.set(id, b);
  }
  return [...bands.values()];
}

const idOf = (stage, w) => JSON.stringify([stage.name(w), stage.detail?.(w) ?? ""]);

// nodesOf are the nodes of a stage, in the order of the ways, and the bands through each.
function nodesOf(bands, stage) {
  const nodes = new Map();
  for (const b of bands) {
    const at = b.path[stage];
    const n = nodes.get(at.id) ?? { ...at, bands: [], rate: 0, open: 0, width: 0 };
    n.bands.push(b);
    n.rate += b.rate;
    n.open += stage < BLOCK ? b.come : b.open;
    n.width += b.width;
    nodes.set(at.id, n);
  }
  return [...nodes.values()].sort((a, b) => (a.last ? 1 : 0) - (b.last ? 1 : 0));
}

// placeAcross puts stages beside each other and returns the height.
function placeAcross(stages, width) {
  const breadth = Math.min(230, width * 0.19), top = 24;
  const heights = stages.map((nodes) => nodes.reduce((all, n) => all + Math.max(WIDE.across, n.width + 2 * PAD) + WIDE.gap, -WIDE.gap));
  const height = Math.max(120, ...heights);
  stages.forEach((nodes, i) => {
    const free = (height - heights[i]) / (nodes.length + 1);
    let y = top + free;
    for (const n of nodes) {
      n.x = 1 + i * (width - breadth - 2) / (stages.length - 1);
      n.y = y;
      n.w = breadth;
      n.h = Math.max(WIDE.across, n.width + 2 * PAD);
      y += n.h + WIDE.gap + free;
    }
  });
  return Math.ceil(height + top + 2);
}

// placeDown puts stages below each other and returns the height.
function placeDown(stages, width) {
  const height = 56, way = 54;
  stages.forEach((nodes, i) => {
    const room = width - 2 - NARROW.gap * (nodes.length - 1);
    const wanted = nodes.map((n) => n.width + 2 * PAD);
    const spare = Math.max(0, room - wanted.reduce((all, w) => all + w, 0)) / nodes.length;
    let x = 1;
    nodes.forEach((n, at) => {
      n.x = x;
      n.y = 1 + i * (height + way);
      n.w = wanted[at] + spare;
      n.h = height;
      x += n.w + NARROW.gap;
    });
  });
  return stages.length * height + (stages.length - 1) * way + 2;
}

// spread gives each band its place on both sides of its nodes: in the order of the nodes at its other ends, so that few cross.
function spread(stages, vertical) {
  const place = (n) => vertical ? n.x : n.y;
  stages.forEach((nodes, i) => nodes.forEach((n) => n.bands.forEach((b) => { (b.at ??= [])[i] = { node: n }; })));
  stages.forEach((nodes, i) => nodes.forEach((n) => {
    const side = (name, order) => {
      let at = place(n) + ((vertical ? n.w : n.h) - n.width) / 2;
      for (const b of n.bands.toSorted((a, b) => order.map((s) => place(a.at[s].node) - place(b.at[s].node)).find((d) => d !== 0) ?? 0)) {
        b.at[i][name] = at;
        at += b.width;
      }
    };
    const all = stages.keys().toArray(); // bands between the same two nodes have one order at both
    side("from", i > 0 ? [i - 1, ...all] : all);
    side("to", i + 1 < stages.length ? [i + 1, ...all] : all);
  }));
}

function drawBand(b, vertical, element) {
  const moving = b.rate > 0;
  for (let i = 0; i + 1 < STAGES.length; i++) {
    const a = b.at[i], z = b.at[i + 1];
    const [p, q] = vertical ? [a.node.y + a.node.h, z.node.y] : [a.node.x + a.node.w, z.node.x];
    const middle = (p + q) / 2;
    const point = (along, across) => vertical ? `${round(across)} ${round(along)}` : `${round(along)} ${round(across)}`;
    const curve = (from, to, u, v) => `C ${point(middle, u)} ${point(middle, v)} ${point(to, v)}`;
    const band = element(b.id + i, "path");
    const lower = [a.to + b.width, z.from + b.width];
    band.setAttribute("d", `M ${point(p, a.to)} ${curve(p, q, a.to, z.from)} L ${point(q, lower[1])} ${curve(q, p, lower[1], lower[0])} Z`);
    band.setAttribute("class", `band ${classOf(b.protocol)}${moving ? "" : " idle"}`);
    band.setAttribute("data-width", round(b.width));
    if (!moving) continue;
    const stream = element("stream " + b.id + i, "path");
    const centre = [a.to + b.width / 2, z.from + b.width / 2];
    stream.setAttribute("d", `M ${point(p, centre[0])} ${curve(p, q, centre[0], centre[1])}`);
    stream.setAttribute("class", `stream ${classOf(b.protocol)}`);
  }
}

function drawNode(n, stage, vertical, format, element) {
  const id = `node ${stage} ${n.id}`;
  const g = element(id, "g");
  g.setAttribute("class", "node");
  const rect = element(id + " rect", "rect", g);
  for (const [name, value] of Object.entries({ x: n.x, y: n.y, width: n.w, height: n.h, rx: 9 })) rect.setAttribute(name, round(value));
  const lines = (vertical ? [n.name, format(n, true)] : [n.name, n.detail, format(n, n.w < BRIEF_BELOW)]).filter(Boolean);
  const step = 17, tall = Math.min(n.h, lines.length * step + 6);
  lines.forEach((text, i) => {
    const line = element(`${id} line ${i}`, "text", g);
    line.setAttribute("x", round(n.x + 11));
    line.setAttribute("y", round(n.y + (n.h - tall) / 2 + 16 + i * step));
    line.setAttribute("class", i === 0 ? "" : "small");
    fit(line, text, n.w - 20);
  });
  const title = element(id + " title", "title", g);
  title.textContent = lines.join("\n");
}

function drawTitle(node, text, element) {
  if (!node) return;
  const title = element("stage " + text, "text");
  title.setAttribute("class", "stage");
  title.setAttribute("x", round(node.x + 2));
  title.setAttribute("y", 12);
  title.textContent = text;
}

// fit shortens a text in its middle until it is as wide as there is room.
function fit(line, text, room) {
  if (line.shown === text && line.room === room) return;
  Object.assign(line, { shown: text, room });
  line.textContent = text;
  for (let keep = Math.min(text.length, 80); keep > 2 && line.getComputedTextLength() > room; keep--) {
    line.textContent = text.slice(0, Math.ceil(keep * 0.6)) + "…" + text.slice(text.length - Math.floor(keep * 0.4));
  }
}

export const classOf = (protocol) => ["zmtp", "http2", "http1", "tls", "ssh"].includes(protocol) ? protocol : "other";

const round = (n) => Math.round(n * 10) / 10;
