// Peers of the bridge by zeromq.js.
//
//	node peer.mjs serve OPTIONS          binds services and prints {name: endpoint}, then a line for each message that PULL got,
//	                                     until its input ends
//	node peer.mjs ask ENDPOINT CLIENTS   lets clients, {type: options}, ask the gateway, and fails if an answer is wrong
//
// OPTIONS are those of zeromq.js, as JSON.
import assert from "node:assert/strict";
import * as zmq from "zeromq";

// The Greeter's messages have their text in the first field.
const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(n >>> 7)]);
const message = (text) => Buffer.concat([Buffer.from([10, ...varint(Buffer.byteLength(text))]), Buffer.from(text)]);
function textOf(body) {
  let size = 0, at = 1;
  for (let shift = 0; ; shift += 7) {
    const b = body[at++];
    size |= (b & 127) << shift;
    if (b < 128) return body.subarray(at, at + size).toString();
  }
}

const names = ["a", "", "ü".repeat(100), "L".repeat(1 << 20)];
const pushed = 20;

const services = {
  async rep(socket) {
    for await (const [body] of socket) await socket.send(message("Hello, " + textOf(body)));
  },
  async lane(socket) {
    for await (const frames of socket) await socket.send(frames);
  },
  async router(socket) {
    for await (const frames of socket) await socket.send([...frames.slice(0, -1), message("Hello, " + textOf(frames.at(-1)))]);
  },
  async pull(socket) {
    for await (const [body] of socket) console.log(textOf(body));
  },
  async pub(socket) {
    for (;;) {
      await socket.send(["news", message("news")]);
      await socket.send(["other", message("other")]);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },
};

async function serve(options) {
  const sockets = {
    rep: new zmq.Reply(options), lane: new zmq.Reply(options), router: new zmq.Router(options),
    pull: new zmq.Pull(options), pub: new zmq.Publisher(options),
  };
  const endpoints = {};
  for (const [name, socket] of Object.entries(sockets)) {
    await socket.bind("tcp://127.0.0.1:*");
    endpoints[name] = socket.lastEndpoint;
  }
  console.log(JSON.stringify(endpoints));
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
  await Promise.all(Object.entries(sockets).map(([name, socket]) => services[name](socket)));
}

const clients = {
  async REQ(socket) {
    for (const name of names) {
      await socket.send(message(name));
      const reply = await socket.receive();
      assert.equal(reply.length, 1);
      assert.equal(textOf(reply[0]), "Hello, " + name);
    }
  },
  async DEALER(socket) {
    for (const [i, name] of names.entries()) await socket.send([`id ${i}`, "", message(name)]);
    const left = new Map(names.map((name, i) => [`id ${i}`, name]));
    while (left.size > 0) {
      const [id, empty, body, ...more] = await socket.receive();
      assert.deepEqual([empty.length, more.length], [0, 0]);
      assert.equal(textOf(body), "Hello, " + left.get(id.toString()));
      left.delete(id.toString());
    }
  },
  async PUSH(socket) {
    for (let i = 0; i < pushed; i++) await socket.send(message(`pushed ${i}`));
  },
  async SUB(socket) {
    socket.subscribe("weather");
    const [topic, body, ...more] = await socket.receive();
    assert.deepEqual([topic.toString(), textOf(body), more.length], ["weather", "Hello, weather", 0]);
  },
};

async function ask(endpoint, settings) {
  const types = { REQ: zmq.Request, DEALER: zmq.Dealer, PUSH: zmq.Push, SUB: zmq.Subscriber };
  for (const [type, options] of Object.entries(settings)) {
    const socket = new types[type]({ linger: 10_000, heartbeatInterval: 20, heartbeatTimeout: 10_000, ...options });
    socket.connect(endpoint);
    await clients[type](socket);
    socket.close();
  }
}

const [mode, ...args] = process.argv.slice(2);
if (mode === "serve") await serve(JSON.parse(args[0]));
else await ask(args[0], JSON.parse(args[1]));
