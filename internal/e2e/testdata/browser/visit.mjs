// Drives a browser for the tests. Usage: node visit.mjs CHROMIUM BASE COMMAND...
//   transports MESSAGES NAME...   by each transport: connects, echoes messages, is disconnected, comes back
//   page URL PICTURE              opens the demo's page, says something, waits for the answers, takes a picture
//   admin PORT PICTURE            opens the admin page, sends bytes through PORT, takes a picture, and looks at it as a phone does
//   locked TOKEN                  opens the admin page with a wrong token, then with this one
// It prints a line of JSON about what was seen.
import { createRequire } from "node:module";
import { connect } from "node:net";
import { chromium } from "playwright-core";

const patience = 60_000; // milliseconds
const [executablePath, base, command, ...args] = process.argv.slice(2);

// converse runs in the browser.
async function converse({ base, transport, messages, patience }) {
  const soon = (what, promise) => Promise.race([
    promise, new Promise((_, reject) => setTimeout(() => reject(new Error("not in time: " + what)), patience)),
  ]);
  const open = (what) => soon(what, new Promise((resolve, reject) => {
    const sock = new SockJS(base, null, { transports: [transport] });
    sock.onopen = () => resolve(sock);
    sock.onclose = (e) => reject(new Error(what + ": closed with " + e.code + " " + e.reason));
  }));
  const sock = await open("connecting");
  const seen = { transport: sock.transport, echoed: 0 };
  await soon("the echoes, after " + seen.echoed, new Promise((resolve, reject) => {
    sock.onmessage = (e) => {
      if (e.data !== "message " + seen.echoed + " é😀\u2028") reject(new Error("echo " + seen.echoed + " is " + e.data));
      if (++seen.echoed === messages) resolve();
    };
    sock.onclose = (e) => reject(new Error("closed after " + seen.echoed + " echoes: " + e.code + " " + e.reason));
    for (let i = 0; i < messages; i++) sock.send("message " + i + " é😀\u2028");
  }));
  await soon("the disconnect", new Promise((resolve) => {
    sock.onclose = (e) => {
      seen.code = e.code;
      seen.reason = e.reason;
      resolve();
    };
    sock.send("bye");
  }));
  const again = await open("coming back");
  await soon("an echo after coming back", new Promise((resolve) => {
    again.onmessage = resolve;
    again.send("hello again");
  }));
  await soon("closing", new Promise((resolve) => {
    again.onclose = resolve;
    again.close();
  }));
  return { ...seen, back: true };
}

async function transports(page, messages, ...names) {
  const seen = {};
  for (const name of names) {
    await page.goto(base + "/blank.html");
    await page.addScriptTag({ path: createRequire(import.meta.url).resolve("sockjs-client/dist/sockjs.js") });
    try {
      seen[name] = await page.evaluate(converse, { base, transport: name, messages: Number(messages), patience });
    } catch (e) {
      seen[name] = { error: String(e) };
    }
  }
  return { seen };
}

async function demo(page, url, picture) {
  const strangers = [];
  page.on("request", (r) => { if (!r.url().startsWith(new URL(url).origin) && !r.url().startsWith("data:")) strangers.push(r.url()); });
  await page.goto(url);
  await page.locator("#state.open").waitFor({ timeout: patience });
  const answered = (n) => page.waitForFunction((n) => page.answered === n, n, { timeout: patience });
  await page.click("#many");
  await answered(100);
  const texts = ["Hello from a browser", "One port, any language", "What time is it?", "And now?"];
  for (const [i, text] of texts.entries()) {
    await page.fill("#text", text);
    await page.click("#send");
    await answered(101 + i);
  }
  await page.waitForTimeout(1000); // until all dots have arrived
  await page.fill("#text", "Thank you!");
  await page.click("#send");
  await page.waitForTimeout(250); // for the dots to be on their way in the picture
  await page.screenshot({ path: picture });
  await page.fill("#text", "bye");
  await page.click("#send");
  await page.waitForFunction(() => page.connected === 2, null, { timeout: patience });
  return page.evaluate(() => ({ sent: page.sent, answered: page.answered, connected: page.connected })).then((seen) => ({ ...seen, strangers }));
}

// watchful tells of everything that a page should not do.
function watchful(page) {
  const seen = { strangers: [], complaints: [], urls: [] };
  page.on("request", (r) => {
    seen.urls.push(r.url());
    if (new URL(r.url()).origin !== new URL(base).origin) seen.strangers.push(r.url());
  });
  page.on("console", (m) => seen.complaints.push(m.type() + ": " + m.text()));
  page.on("dialog", (d) => { seen.complaints.push("dialog: " + d.message()); d.dismiss(); });
  return seen;
}

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

async function admin(page, port, picture) {
  const seen = watchful(page);
  await page.setViewportSize({ width: 1200, height: 900 });
  await page.goto(base);
  await page.locator("#picture .band.zmtp:not(.idle)").first().waitFor({ state: "attached", timeout: patience });
  const ssh = () => page.evaluate(() => Math.max(0, ...[...document.querySelectorAll("#picture .band.ssh")].map((b) => Number(b.dataset.width))));
  const until = (wide) => page.waitForFunction((wide) => {
    const widths = [...document.querySelectorAll("#picture .band.ssh")].map((b) => Number(b.dataset.width));
    return widths.length > 0 && widths.some((w) => w > 20) === wide;
  }, wide, { timeout: patience });
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("data", () => {}).write("SSH-2.0-test\r\n");
  await until(false);
  seen.before = await ssh();
  const chunk = Buffer.alloc(32 << 10);
  const flood = setInterval(() => { if (socket.writableLength === 0) socket.write(chunk); }, 20);
  await until(true);
  seen.during = await ssh();
  clearInterval(flood);
  await until(false);
  seen.after = await ssh();
  const trickle = setInterval(() => socket.write(chunk.subarray(0, 1 << 10)), 100);
  await page.waitForTimeout(7000); // the window of the rates, for a picture of steady traffic
  seen.text = await page.evaluate(() => document.body.innerText);
  seen.rows = await page.locator("#flows tbody tr").count();
  seen.elements = await page.locator("#shown img, #shown script, #shown b, #shown [onerror]").count();
  seen.overflows = [await overflow(page)];
  await page.screenshot({ path: picture, fullPage: true });
  for (const [width, colorScheme] of [[390, "light"], [320, "dark"], [768, "dark"]]) {
    await page.setViewportSize({ width, height: 844 });
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(2500); // until it was drawn for this width
    seen.overflows.push(await overflow(page));
    await page.screenshot({ path: picture.replace(/\.png$/, "-" + width + ".png"), fullPage: true });
  }
  clearInterval(trickle);
  socket.destroy();
  return seen;
}

async function locked(page, token) {
  const seen = watchful(page);
  await page.goto(base);
  for (const text of ["wrong", token]) {
    await page.locator("#token").waitFor({ timeout: patience });
    await page.fill("#secret", text);
    await page.click("#token button");
    if (text === "wrong") await page.getByText("That is another token.").waitFor({ timeout: patience });
  }
  await page.locator("#shown").waitFor({ timeout: patience });
  return { ...seen, field: await page.inputValue("#secret"), stored: await page.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length) };
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = await browser.newPage({ viewport: { width: 1120, height: 900 }, colorScheme: "light", ignoreHTTPSErrors: true });
  const complaints = [];
  page.on("pageerror", (e) => complaints.push(String(e)));
  const seen = await { admin, locked, page: demo, transports }[command](page, ...args);
  console.log(JSON.stringify({ ...seen, complaints: [...(seen.complaints ?? []), ...complaints] }));
} finally {
  await browser.close();
}
