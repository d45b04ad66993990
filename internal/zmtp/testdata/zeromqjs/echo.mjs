// A DEALER that sends back what it receives until its input ends.
// Its settings come as JSON: {"connect": endpoint} or {"bind": endpoint}, and socket options of zeromq.js.
// It prints "version endpoint" once it is there.
import { Dealer, version } from "zeromq";

const { connect, bind, ...options } = JSON.parse(process.argv[2]);
const socket = new Dealer({ linger: 0, heartbeatInterval: 50, heartbeatTimeout: 5000, ...options });
if (connect) socket.connect(connect);
else await socket.bind(bind);
console.log(version, connect ?? socket.lastEndpoint);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
for await (const message of socket) await socket.send(message);
