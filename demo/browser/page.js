"use strict";

// The gateway is at one of these paths, seen from the page; sockjs-client comes from there too.
const PLACES = ["chat", ".", ".."];
const RECONNECT_MIN = 500, RECONNECT_MAX = 8000; // milliseconds
const LOG_ROWS_MAX = 200, TIMES_MAX = 1000;
const MANY = 100;

const $ = (id) => document.getElementById(id);
const page = { sock: null, base: "", waiting: [], times: [], sent: 0, answered: 0, connected: 0, pause: RECONNECT_MIN, timer: 0 };
window.page = page; // for the tests

// find returns the path of the gateway.
async function find() {
  for (const place of PLACES) {
    const base = new URL(place, location.href).href.replace(/\/$/, "");
    try {
      const answer = await fetch(base + "/info");
      if (answer.ok && "entropy" in await answer.json()) return base;
    } catch { /* it is not there */ }
  }
  return "";
}

function load(script) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    Object.assign(element, { src: script, onload: resolve, onerror: reject });
    document.head.append(element);
  });
}

function state(kind, text) {
  $("state").className = "pill " + kind;
  $("state").lastElementChild.textContent = text;
  for (const id of ["send", "many"]) $(id).disabled = kind !== "open";
}

// connect opens a session, and another one whenever it ends.
function connect() {
  clearTimeout(page.timer);
  const wanted = $("choice").value;
  const sock = new SockJS(page.base, null, wanted ? { transports: [wanted] } : {});
  page.sock = sock;
  page.waiting = [];
  state("", "connecting");
  sock.onopen = () => {
    page.pause = RECONNECT_MIN;
    page.connected++;
    $("times").textContent = page.connected + "×";
    $("transport").textContent = sock.transport;
    state("open", "connected by " + sock.transport);
    note("connected by " + sock.transport + "; the program got “connect”");
  };
  sock.onmessage = (event) => answer(String(event.data));
  sock.onclose = (event) => {
    if (page.sock !== sock) return; // another transport was chosen
    state("closed", "disconnected");
    note("disconnected: " + (event.reason || "no reason given") + " (" + event.code + "); coming back in " + page.pause / 1000 + " s");
    page.timer = setTimeout(connect, page.pause);
    page.pause = Math.min(2 * page.pause, RECONNECT_MAX);
  };
}

// say sends a message. Answers come in its session's order.
function say(text) {
  page.waiting.push({ text, at: performance.now(), row: row(text) });
  page.sock.send(text);
  $("sent").textContent = ++page.sent;
  $("said1").textContent = short(text);
  travel(["out1", "out2"], "var(--there)", ["page", "gateway", "program"]);
}

function answer(text) {
  const asked = page.waiting.shift();
  travel(["back2", "back1"], "var(--back)", ["program", "gateway", "page"]);
  $("heard1").textContent = short(text);
  if (!asked) {
    note("the program says: " + text);
    return;
  }
  const took = performance.now() - asked.at;
  page.times = page.times.concat(took).slice(-TIMES_MAX);
  $("answered").textContent = ++page.answered;
  $("median").textContent = milliseconds(page.times.toSorted((a, b) => a - b)[page.times.length >> 1]);
  const [, from, time] = asked.row.children;
  from.textContent = text;
  from.className = "from";
  time.textContent = milliseconds(took);
}

const short = (text) => text.length > 30 ? text.slice(0, 29) + "…" : text;
const milliseconds = (n) => n.toFixed(n < 10 ? 1 : 0) + " ms";

function append(item) {
  const log = $("log");
  if (page.sent + page.connected <= 1) log.querySelector(".note:only-child")?.remove();
  log.prepend(item);
  while (log.children.length > LOG_ROWS_MAX) log.lastElementChild.remove();
  return item;
}

function row(text) {
  const item = document.createElement("li");
  for (const [name, content] of [["to", text], ["none", "…"], ["took", ""]]) {
    const cell = document.createElement("span");
    cell.className = name;
    cell.textContent = content;
    item.append(cell);
  }
  return append(item);
}

function note(text) {
  const item = document.createElement("li");
  item.className = "note";
  item.textContent = text;
  append(item);
}

// travel lets a dot go along paths, and lights the stations that it passes.
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let travellers = 0;
function travel(paths, colour, stations) {
  if (calm.matches || travellers > 12) return;
  travellers++;
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  dot.setAttribute("r", 6);
  dot.style.fill = colour;
  document.querySelector("svg").append(dot);
  const lengths = paths.map((id) => $(id).getTotalLength());
  const began = performance.now(), each = 320;
  light(stations[0]);
  requestAnimationFrame(function step(now) {
    const at = Math.max(0, now - began) / each, leg = Math.min(Math.floor(at), paths.length);
    if (leg >= paths.length) {
      dot.remove();
      travellers--;
      light(stations.at(-1));
      return;
    }
    if (leg > 0 && !dot.dataset.passed) {
      dot.dataset.passed = "yes";
      light(stations[1]);
    }
    const point = $(paths[leg]).getPointAtLength(lengths[leg] * (at - leg));
    dot.setAttribute("cx", point.x);
    dot.setAttribute("cy", point.y);
    requestAnimationFrame(step);
  });
}

function light(id) {
  $(id).classList.add("lit");
  setTimeout(() => $(id).classList.remove("lit"), 350);
}

async function begin() {
  $("port").textContent = location.port ? "port " + location.port : location.host;
  page.base = await find();
  if (!page.base) {
    state("closed", "no gateway here");
    note("Neither " + PLACES.join(" nor ") + " leads to a gateway from here. Trying again.");
    page.timer = setTimeout(begin, RECONNECT_MAX);
    return;
  }
  await load(page.base + "/sockjs.min.js");
  connect();
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value || "What time is it?";
  if (!$("send").disabled) say(text);
  $("text").value = "";
});
$("many").addEventListener("click", () => {
  for (let i = 1; i <= MANY; i++) say("message " + i);
});
$("choice").addEventListener("change", () => {
  const before = page.sock;
  page.sock = null;
  before?.close();
  if (page.base) connect();
});
begin();
