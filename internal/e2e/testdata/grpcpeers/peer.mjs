// A gRPC peer by grpc-js, without protobuf: messages are bytes. It does what peer.py does.
import { createRequire } from "node:module";
const grpc = createRequire(import.meta.url)("@grpc/grpc-js");

const patience = 60000; // milliseconds that anything may take which must happen at once, on a machine that has much else to do
const details = Buffer.from("\x08\x09\x12\x04rich", "latin1");
const same = (b) => b;
const method = (name, requestStream, responseStream) => ({
  path: "/peer.Echo/" + name, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const service = {
  Unary: method("Unary", false, false), Down: method("Down", false, true), Up: method("Up", true, false),
  Both: method("Both", true, true), Began: method("Began", false, false), Ended: method("Ended", false, false), Missing: method("Missing", false, false),
};

// Happenings counts what happens, for calls that each wait for one.
class Happenings {
  count = 0;
  waiting = [];
  happened() {
    this.count++;
    this.tell();
  }
  wait(call, reply) {
    this.waiting.push(() => reply(null, Buffer.from("yes")));
    this.tell();
  }
  tell() {
    for (; this.count && this.waiting.length; this.count--) this.waiting.shift()();
  }
}

function serve() {
  const hung = new Happenings(), over = new Happenings();
  // begin sends initial metadata; it reports whether the call is to be answered, with the trailers for that. Otherwise it
  // fails the call, or notes that it hangs, and that it is over.
  const begin = (call, fail) => {
    const head = new grpc.Metadata(), tail = new grpc.Metadata();
    head.set("x-echo", call.metadata.get("x-echo")[0] ?? "");
    tail.set("x-trail-bin", call.metadata.get("x-echo-bin")[0] ?? Buffer.alloc(0));
    call.sendMetadata(head);
    const what = call.metadata.get("x-do")[0] ?? "answer";
    if (what === "answer") return tail;
    if (call.write) call.write(Buffer.from("first"));
    if (what === "hang") {
      call.on("cancelled", () => over.happened());
      hung.happened();
    }
    if (what === "fail") {
      const metadata = new grpc.Metadata();
      metadata.set("grpc-status-details-bin", details);
      fail({ code: grpc.status.FAILED_PRECONDITION, details: "d\u00e9tail 100%", metadata });
    }
    return null;
  };
  const { Missing, ...implemented } = service;
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  server.addService(implemented, {
    Unary(call, reply) {
      const tail = begin(call, reply);
      if (tail) reply(null, call.request, tail);
    },
    Down(call) {
      const tail = begin(call, (e) => call.emit("error", e));
      if (!tail) return;
      for (let n = 0; n < Number(call.request); n++) call.write(Buffer.from(String(n)));
      call.end(tail);
    },
    Up(call, reply) {
      const tail = begin(call, reply), all = [];
      call.on("data", (b) => all.push(b.toString()));
      call.on("end", () => tail && reply(null, Buffer.from(all.join(",")), tail));
    },
    Both(call) {
      const tail = begin(call, (e) => call.emit("error", e));
      if (!tail) return;
      call.on("data", (b) => call.write(b));
      call.on("end", () => call.end(tail));
    },
    Began: (call, reply) => hung.wait(call, reply),
    Ended: (call, reply) => over.wait(call, reply),
  });
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (err, port) => {
    if (err) throw err;
    console.log(port);
  });
  process.stdin.on("end", () => process.exit(0)).resume(); // until the test closes it
}

const big = Buffer.alloc(1 << 20, "abc");
const kinds = { // what is sent, what is answered
  Unary: [[big], [big]],
  Down: [["50"], [...Array(50).keys()]],
  Up: [["a", "b", "c"], ["a,b,c"]],
  Both: [["x", "y".repeat(70000)], ["x", "y".repeat(70000)]],
};

async function call(target) {
  const problems = [];
  const expect = (what, got, want) => {
    if (String(got) !== String(want)) problems.push(`${what}: got ${String(got).slice(0, 100)}, want ${String(want).slice(0, 100)}`);
  };
  const client = new (grpc.makeGenericClientConstructor(service, "peer.Echo"))(target, grpc.credentials.createInsecure());
  const soon = (ms = patience) => ({ deadline: Date.now() + ms });

  // run makes a call of any kind and tells how it ended. One that is to hang keeps its request open; started is given it.
  const run = (name, what, ms, started = () => {}) => new Promise((resolve) => {
    const { requestStream, responseStream } = service[name];
    const sent = kinds[name][0].map((b) => Buffer.from(b));
    const metadata = new grpc.Metadata();
    metadata.set("x-echo", "hello");
    metadata.set("x-echo-bin", Buffer.from([0, 255]));
    if (what !== "answer") metadata.set("x-do", what);
    const result = { answers: [] };
    const args = requestStream ? [metadata, soon(ms)] : [sent[0], metadata, soon(ms)];
    if (!responseStream) args.push((err, b) => b && result.answers.push(b));
    const c = client[name](...args);
    if (responseStream) c.on("data", (b) => result.answers.push(b)).on("error", () => {}); // the status tells
    c.on("metadata", (m) => (result.head = m));
    c.on("status", (s) => { result.status = s; setImmediate(resolve, result); });
    if (requestStream) for (const b of sent) c.write(b);
    if (requestStream && what !== "hang") c.end();
    started(c);
  });
  const serverSaw = (what, method) => new Promise((resolve) => client[method](Buffer.alloc(0), new grpc.Metadata(), soon(), (err, b) => {
    expect(`${what}: ${method}`, err ?? b, "yes");
    resolve();
  }));

  for (const [name, [, want]] of Object.entries(kinds)) {
    const start = Date.now();
    let r = await run(name, "answer");
    const enough = 1000 + 10 * (Date.now() - start); // for a call to get there and begin to hang
    expect(name, r.answers, want);
    expect(name + ": status", r.status.code, grpc.status.OK);
    expect(name + ": initial metadata", r.head?.get("x-echo")[0], "hello");
    expect(name + ": trailing metadata", r.status.metadata.get("x-trail-bin")[0]?.toString("hex"), "00ff");
    const first = service[name].responseStream ? ["first"] : [];
    r = await run(name, "fail");
    expect(name + ": answers before the error", r.answers, first);
    expect(name + ": error", r.status.code, grpc.status.FAILED_PRECONDITION);
    expect(name + ": message", r.status.details, "d\u00e9tail 100%");
    expect(name + ": rich error", r.status.metadata.get("grpc-status-details-bin")[0], details);
    r = await run(name, "hang", enough);
    expect(name + ": answers before the deadline", r.answers, first);
    expect(name + ": deadline", r.status.code, grpc.status.DEADLINE_EXCEEDED);
    await serverSaw(name + ": deadline", "Began");
    await serverSaw(name + ": deadline", "Ended");
    r = await run(name, "hang", undefined, (c) => serverSaw(name + ": cancelled", "Began").then(() => c.cancel()));
    expect(name + ": cancelled", r.status.code, grpc.status.CANCELLED);
    await serverSaw(name + ": cancelled", "Ended");
  }
  const err = await new Promise((resolve) => client.Missing(Buffer.alloc(0), new grpc.Metadata(), soon(), (e) => resolve(e)));
  expect("unknown method", err?.code, grpc.status.UNIMPLEMENTED);
  client.close();
  console.log(problems.join("\n"));
  process.exit(problems.length ? 1 : 0);
}

if (process.argv[2] === "server") serve();
else call(process.argv[3]);
