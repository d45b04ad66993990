// The cards below the picture, each from a part of /status.

import { age, figure, none, row, share, show, table, tag } from "./elements.js";
import { bytes, count } from "./ways.js";

// fill shows what a card has, or hides it where the configuration has nothing of the kind.
function fill(card, parts) {
  card.hidden = !parts;
  if (parts) show(card.lastElementChild, ...parts);
}

export function pairingCard(card, status) {
  const relays = (status.relays ?? []).filter((r) => r.pairing);
  fill(card, relays.length > 0 && relays.flatMap(({ name, pairing: p }) => [
    ...(relays.length > 1 ? [tag("h3", {}, name)] : []),
    tag("dl", { class: "counts" }, figure("parked workers", count(p.parked)), figure("waiting clients", count(p.waiting)), figure("pairs", count(p.paired))),
    ...(p.pairs ? [table(["client", "worker"], ["for", "in", "out"], p.pairs.map((one) =>
      row([[one.client, one.identity], [one.name || one.worker, one.handshake === "pending" ? "handshake pending" : ""]],
        [age(one.since_seconds), bytes(one.in_bytes), bytes(one.out_bytes)])))] : []),
    ...(p.workers ? [table(["parked worker", "speaks"], ["for"], p.workers.map((w) =>
      row([[w.name || w.address, w.agent ? "agent " + w.address : ""], w.mechanism || "—"], [age(w.age_seconds)])), 6)] : []),
    ...(p.clients ? [table(["waiting client", "wants"], ["for"], p.clients.map((c) =>
      row([[c.address, c.identity], c.for || "anyone"], [age(c.waits_seconds)])), 6)] : []),
  ]));
}

export function backendsCard(card, status) {
  const rows = [...dialled(status), ...called(status), ...spoken(status), ...programs(status)];
  fill(card, rows.length > 0 && [table(["backend", "target", "state"], ["busy"], rows.map(([name, target, [kind, state, why], busy]) =>
    row([tag("td", { class: "name" }, name), [target, why], tag("td", { class: "state " + kind }, state)], [busy])), 30)]);
}

const dialled = (status) => (status.relays ?? []).flatMap((r) => (r.targets ?? []).map((t) =>
  [r.name, t.Target, t.EjectedFor > 0 ? ["bad", "left out", t.LastError] : t.Failures > 0 ? ["warn", "failing", t.LastError] : ["good", "good"], count(t.Open)]));

const called = (status) => (status.grpc?.backends ?? []).flatMap((b) => b.last_error || !b.targets
  ? [[b.name, "", ["bad", "no target", b.last_error], ""]]
  : b.targets.map((t) => [b.name, t.address, healthOf(t), count(t.active)]));

function healthOf(t) {
  if (t.unhealthy) return ["bad", "unhealthy", t.last_error];
  if (t.ejected) return ["bad", "left out", t.last_error];
  if (t.connections > 0) return ["good", "good"];
  return t.last_error ? ["bad", "away", t.last_error] : ["", "not needed yet"];
}

const spoken = (status) => (status.migration?.zmq_backends ?? []).map((b) =>
  [b.name, (b.endpoints ?? []).join(", "), b.peers > 0 ? ["good", "good"] : ["bad", "away", "no connection"], count(b.in_flight)]);

const programs = (status) => (status.sockjs ?? []).map((s) =>
  [s.prefix, s.programs === 1 ? "1 program" : count(s.programs) + " programs", s.programs > 0 ? ["good", "good"] : ["warn", "nobody there"],
    count(Object.values(s.sessions).reduce((all, n) => all + n, 0))]);

export function migrationCard(card, status) {
  const m = status.migration;
  const services = (m?.services ?? []).map((s) => {
    const by = (protocol) => (s.sources ?? []).filter((from) => from.protocol === protocol);
    const live = (all) => all.reduce((n, from) => n + from.live, 0);
    const zmq = by("zmq"), grpc = by("grpc");
    return { name: s.service, zmq: live(zmq), grpc: live(grpc), quiet: Math.min(...zmq.map((from) => from.live > 0 ? 0 : from.ago_s)) };
  });
  const zmq = services.reduce((n, s) => n + s.zmq, 0), grpc = services.reduce((n, s) => n + s.grpc, 0);
  const quiet = Math.min(...services.map((s) => s.quiet));
  fill(card, m && (services.length > 0 || m.ways) && [
    tag("p", { class: "verdict" }, zmq > 0 ? `${count(zmq)} of ${count(zmq + grpc)} connections speak ZeroMQ.`
      : Number.isFinite(quiet) ? `Nobody has spoken ZeroMQ for ${age(quiet)}.` : "Nobody was seen speaking ZeroMQ."),
    ...(zmq + grpc > 0 ? [share(grpc / (zmq + grpc), "share of connections that speak gRPC")] : []),
    ...(services.length > 0 ? [table(["service"], ["ZeroMQ", "gRPC"], services.map((s) => row([tag("td", { class: "name" }, s.name)], [count(s.zmq), count(s.grpc)])))] : []),
    ...(m.ways ? [table(["zmq block", "goes to", ""], ["asked", "measured"], m.ways.map((w) =>
      row([tag("td", { class: "name" }, w.block), w.backend, share(w.measured_percent / 100, "measured share")],
        [percent(w.asked_percent), percent(w.measured_percent)])))] : []),
  ]);
}

const percent = (n) => Math.round(n) + " %";

export function refusedCard(card, status) {
  const all = (status.refused ?? []).filter((r) => r.count > 0);
  const most = Math.max(1, ...all.map((r) => r.count));
  fill(card, all.length === 0 ? [none("Nobody was.")] : [table(["reason", "by", ""], ["times"], all.map((r) =>
    row([tag("td", { class: "name" }, r.reason.replaceAll("_", " ")), r.by || "all", share(r.count / most, "share of the most frequent reason")], [count(r.count)])))]);
}
