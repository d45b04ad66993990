// A gRPC peer by grpc-js, without protobuf: messages are bytes. It does what peer.py does.
import { createRequire } from "node:module";
const grpc = createRequire(import.meta.url)("@grpc/grpc-js");

const details = Buffer.from("\x08\x09\x12\x04rich", "latin1");
const same = (b) => b;
const method = (name, requestStream, responseStream) => ({
  path: "/peer.Echo/" + name, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const service = {
  Unary: method("Unary", false, false), Down: method("Down", false, true), Up: method("Up", true, false),
  Both: method("Both", true, true), Fail: method("Fail", false, false), Hang: method("Hang", false, false),
  Ended: method("Ended", false, false), Missing: method("Missing", false, false),
};

function serve() {
  let ended = 0;
  const waiting = [];
  const { Missing, ...implemented } = service;
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  server.addService(implemented, {
    Unary(call, reply) {
      const head = new grpc.Metadata(), tail = new grpc.Metadata();
      head.set("x-echo", call.metadata.get("x-echo")[0] ?? "");
      tail.set("x-trail-bin", call.metadata.get("x-echo-bin")[0] ?? Buffer.alloc(0));
      call.sendMetadata(head);
      reply(null, call.request, tail);
    },
    Down(call) {
      for (let n = 0; n < Number(call.request); n++) call.write(Buffer.from(String(n)));
      call.end();
    },
    Up(call, reply) {
      const all = [];
      call.on("data", (b) => all.push(b.toString()));
      call.on("end", () => reply(null, Buffer.from(all.join(","))));
    },
    Both(call) {
      call.on("data", (b) => call.write(b));
      call.on("end", () => call.end());
    },
    Fail(call, reply) {
      const metadata = new grpc.Metadata();
      metadata.set("grpc-status-details-bin", details);
      reply({ code: grpc.status.FAILED_PRECONDITION, details: "d\u00e9tail 100%", metadata });
    },
    Hang(call) {
      call.on("cancelled", () => (waiting.length ? waiting.shift()() : ended++));
    },
    Ended(call, reply) {
      if (ended > 0) {
        ended--;
        reply(null, Buffer.from("yes"));
      } else waiting.push(() => reply(null, Buffer.from("yes")));
    },
  });
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (err, port) => {
    if (err) throw err;
    console.log(port);
  });
  process.stdin.on("end", () => process.exit(0)).resume(); // until the test closes it
}

async function call(target) {
  const problems = [];
  const expect = (what, got, want) => {
    if (String(got) !== String(want)) problems.push(`${what}: got ${String(got).slice(0, 100)}, want ${String(want).slice(0, 100)}`);
  };
  const client = new (grpc.makeGenericClientConstructor(service, "peer.Echo"))(target, grpc.credentials.createInsecure());
  const soon = () => ({ deadline: Date.now() + 20000 });
  const collect = (stream) => new Promise((resolve, reject) => {
    const all = [];
    stream.on("data", (b) => all.push(b.toString())).on("end", () => resolve(all)).on("error", reject);
  });
  const failure = (start) => new Promise((resolve) => start((err, reply) => resolve(err ?? { code: "answered " + reply })));

  const big = Buffer.alloc(1 << 20, "abc");
  const metadata = new grpc.Metadata();
  metadata.set("x-echo", "hello");
  metadata.set("x-echo-bin", Buffer.from([0, 255]));
  await new Promise((resolve) => {
    let head, reply, tail;
    client.Unary(big, metadata, soon(), (err, got) => { expect("unary error", err, null); reply = got; })
      .on("metadata", (m) => (head = m))
      .on("status", (s) => { tail = s.metadata; setImmediate(check); });
    function check() {
      expect("unary", reply?.equals(big), true);
      expect("initial metadata", head?.get("x-echo")[0], "hello");
      expect("trailing metadata", tail.get("x-trail-bin")[0]?.toString("hex"), "00ff");
      resolve();
    }
  });
  expect("server stream", await collect(client.Down(Buffer.from("50"), new grpc.Metadata(), soon())), [...Array(50).keys()]);
  await new Promise((resolve) => {
    const up = client.Up(new grpc.Metadata(), soon(), (err, reply) => { expect("client stream", err ?? reply, "a,b,c"); resolve(); });
    for (const b of ["a", "b", "c"]) up.write(Buffer.from(b));
    up.end();
  });
  const both = client.Both(new grpc.Metadata(), soon());
  const echoed = collect(both);
  both.write(Buffer.from("x"));
  both.end(Buffer.alloc(70000, "y"));
  expect("both ways", await echoed, ["x", "y".repeat(70000)]);
  let err = await failure((done) => client.Fail(Buffer.alloc(0), new grpc.Metadata(), soon(), done));
  expect("code", err.code, grpc.status.FAILED_PRECONDITION);
  expect("message", err.details, "d\u00e9tail 100%");
  expect("rich error", err.metadata?.get("grpc-status-details-bin")[0], details);
  err = await failure((done) => client.Hang(Buffer.alloc(0), new grpc.Metadata(), { deadline: Date.now() + 300 }, done));
  expect("deadline", err.code, grpc.status.DEADLINE_EXCEEDED);
  expect("server saw the deadline", await new Promise((resolve) => client.Ended(Buffer.alloc(0), new grpc.Metadata(), soon(), (e, r) => resolve(e ?? r))), "yes");
  err = await failure((done) => client.Hang(Buffer.alloc(0), new grpc.Metadata(), soon(), done).cancel());
  expect("cancelled", err.code, grpc.status.CANCELLED);
  err = await failure((done) => client.Missing(Buffer.alloc(0), new grpc.Metadata(), soon(), done));
  expect("unknown method", err.code, grpc.status.UNIMPLEMENTED);
  client.close();
  console.log(problems.join("\n"));
  process.exit(problems.length ? 1 : 0);
}

if (process.argv[2] === "server") serve();
else call(process.argv[3]);
