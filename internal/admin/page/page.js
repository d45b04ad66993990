// The page: it asks /status every second or two and shows what it says. Everything that is shown is set as text, never as HTML:
// names come from strangers.

import { backendsCard, migrationCard, pairingCard, refusedCard } from "./cards.js";
import { row, show, tag } from "./elements.js";
import { classOf, draw } from "./picture.js";
import { Window, bytes, count, figures, ways } from "./ways.js";

const EVERY = 1500; // milliseconds between two questions
const PATIENCE = 8000; // milliseconds for an answer
const ROWS_MAX = 200;

const $ = (id) => document.getElementById(id);
const counters = new Window();
let token = ""; // held by this page alone: it is in no URL, and gone when the page is
let asked = 0; // questions so far: an answer to an earlier one is not shown
let timer = 0;
let last = null; // what was shown

async function ask() {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const headers = token ? { Authorization: "Bearer " + token } : {};
    const answer = await fetch("status", { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (mine !== asked) return;
    if (answer.status === 401) return askForToken();
    if (!answer.ok) throw new Error("the admin port answers " + answer.status);
    const status = await answer.json();
    if (mine !== asked) return;
    counters.add(status, performance.now());
    last = status;
    render();
  } catch (problem) {
    if (mine !== asked) return;
    state("bad", problem.name === "TimeoutError" || problem instanceof TypeError ? "no answer" : problem.message);
    $("picture").classList.add("stale");
    counters.forget();
  }
  timer = setTimeout(ask, EVERY);
}

function askForToken() {
  counters.forget();
  state("warn", "locked");
  $("wrong").textContent = token ? "That is another token." : "";
  token = "";
  $("shown").hidden = true;
  $("token").hidden = false;
  $("secret").focus();
}

$("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("secret").value.trim();
  $("secret").value = "";
  ask();
});

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.hidden) return;
  counters.forget();
  if ($("token").hidden) ask();
});
new ResizeObserver(() => { if (last && !$("shown").hidden) picture(last); }).observe($("picture"));

function state(kind, text) {
  if ($("state").className !== "pill " + kind) $("state").className = "pill " + kind;
  if ($("state").lastElementChild.textContent !== text) $("state").lastElementChild.textContent = text;
}

function render() {
  const status = last;
  $("token").hidden = true;
  $("shown").hidden = false;
  state(status.draining ? "warn" : "good", status.draining ? "draining" : "serving");
  document.title = "gateway" + (status.draining ? " (draining)" : "");
  $("version").textContent = status.version;
  const f = figures(status, counters);
  show($("figures"), ...[
    ["connections open", count(f.open)], ["new", count(f.started), "/s"], ["from clients", bytes(f.input), "/s"], ["to clients", bytes(f.output), "/s"],
    ...(status.grpc ? [["gRPC calls", count(f.calls), "/s"]] : []),
    ["generation", String(status.generation)], ["running for", status.uptime],
  ].map(([name, value, unit]) => tag("div", {}, tag("dt", {}, name), tag("dd", {}, value, unit ? tag("small", {}, unit) : ""))));
  picture(status);
  pairingCard($("pairing"), status);
  backendsCard($("backends"), status);
  migrationCard($("migration"), status);
  refusedCard($("refused"), status);
}

function picture(status) {
  const all = ways(status, counters);
  const protocols = [...new Set(all.map((w) => w.protocol))].sort();
  show($("legend"), ...protocols.map((p) => tag("li", { class: classOf(p) }, tag("i"), p)));
  $("picture").classList.remove("stale");
  draw($("picture"), all, (n, brief) => (n.open > 0 && !brief ? count(n.open) + " open, " : "") + bytes(n.rate) + "/s");
  const rows = all.slice(0, ROWS_MAX).map((w) => row([w.listener, w.protocol, w.block, [w.target || "—", w.detail]],
    [w.shared ? "shared" : count(w.open), bytes(w.rate) + "/s"]));
  show($("flows"), tag("caption", {}, all.length === 0 ? "Nobody has come yet." : all.length > ROWS_MAX ? `The first ${ROWS_MAX} of ${all.length}.` : ""),
    tag("thead", {}, row(["listener", "protocol", "block", "target"], ["open", "traffic"], "th")), tag("tbody", {}, ...rows));
}

ask();
