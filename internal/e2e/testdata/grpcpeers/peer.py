"""A gRPC peer by Debian's grpcio (C-core), without protobuf: messages are bytes.

    peer.py server             serves peer.Echo, prints its port
    peer.py client HOST:PORT   calls each of its methods, prints what is wrong, exits 0 if nothing is

A method of each kind does what the metadata x-do says: answer (when it is not there), fail with a rich error, or hang until
the call is over. Began answers when a call has begun to hang, Ended when it is over.
"""

import sys
import threading
import time
from concurrent import futures

import grpc

PATIENCE = 60  # seconds that anything may take which must happen at once, on a machine that has much else to do
DETAILS = b"\x08\x09\x12\x04rich"
hung = threading.Semaphore(0)
over = threading.Semaphore(0)


def begin(context):
    """Sends initial metadata, and reports what the call is to do."""
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-echo", metadata.get("x-echo", "")),))
    context.set_trailing_metadata((("x-trail-bin", metadata.get("x-echo-bin", b"")),))
    return metadata.get("x-do", "answer")


def end(context, do):
    """Fails or hangs, if the call is to."""
    if do == "fail":
        context.set_trailing_metadata((("grpc-status-details-bin", DETAILS),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "d\u00e9tail 100%")
    if do == "hang":
        hung.release()
        done = threading.Event()
        if context.add_callback(done.set):
            done.wait(PATIENCE)
        over.release()


def unary(request, context):
    end(context, begin(context))
    return request


def down(request, context):
    do = begin(context)
    if do != "answer":
        yield b"first"
    end(context, do)
    for n in range(int(request)):
        yield b"%d" % n


def up(requests, context):
    end(context, begin(context))
    return b",".join(requests)


def both(requests, context):
    do = begin(context)
    if do != "answer":
        yield b"first"
    end(context, do)
    yield from requests


def began(request, context):
    return b"yes" if hung.acquire(timeout=PATIENCE) else b"no"


def ended(request, context):
    return b"yes" if over.acquire(timeout=PATIENCE) else b"no"


def server():
    s = grpc.server(futures.ThreadPoolExecutor(16))
    s.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peer.Echo", {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Began": grpc.unary_unary_rpc_method_handler(began),
        "Ended": grpc.unary_unary_rpc_method_handler(ended),
    }),))
    port = s.add_insecure_port("127.0.0.1:0")
    s.start()
    print(port, flush=True)
    sys.stdin.read()  # until the test closes it
    s.stop(0)


BIG = bytes(range(256)) * 4000
KINDS = {  # the kind of call, what is sent, what is answered
    "Unary": ("unary_unary", [BIG], [BIG]),
    "Down": ("unary_stream", [b"50"], [b"%d" % n for n in range(50)]),
    "Up": ("stream_unary", [b"a", b"b", b"c"], [b"a,b,c"]),
    "Both": ("stream_stream", [b"x", b"y" * 70000], [b"x", b"y" * 70000]),
}


class Call:
    """A call of any kind, while it runs. One that is to hang keeps its request open."""

    def __init__(self, channel, name, do, timeout=PATIENCE):
        kind, requests, _ = KINDS[name]
        metadata = (("x-echo", "hello"), ("x-echo-bin", b"\x00\xff")) + ((("x-do", do),) if do != "answer" else ())
        self.one, self.released = kind.endswith("unary"), threading.Event()
        if do != "hang":
            self.released.set()
        method = getattr(channel, kind)("/peer.Echo/" + name)
        start = method.future if self.one else method
        self.call = start(self.sent(requests) if kind.startswith("stream") else requests[0], timeout=timeout, metadata=metadata)

    def sent(self, requests):
        yield from requests
        self.released.wait(PATIENCE)

    def finish(self):
        """Returns the answers and the code."""
        answers = []
        try:
            if self.one:
                answers.append(self.call.result())
            else:
                answers.extend(self.call)
        except (grpc.RpcError, grpc.FutureCancelledError):
            pass  # the code tells
        self.released.set()
        return answers, self.call.code()


def client(target):
    problems = []

    def expect(what, got, want):
        if got != want:
            problems.append("%s: got %.200r, want %.200r" % (what, got, want))

    with grpc.insecure_channel(target) as channel:
        def server_saw(what, method):
            expect("%s: %s" % (what, method), channel.unary_unary("/peer.Echo/" + method)(b"", timeout=PATIENCE), b"yes")

        for name, (kind, _, want) in KINDS.items():
            start = time.monotonic()
            c = Call(channel, name, "answer")
            expect(name, c.finish(), (want, grpc.StatusCode.OK))
            enough = 1 + 10 * (time.monotonic() - start)  # seconds, for a call to get there and begin to hang
            expect(name + ": initial metadata", dict(c.call.initial_metadata()).get("x-echo"), "hello")
            expect(name + ": trailing metadata", dict(c.call.trailing_metadata()).get("x-trail-bin"), b"\x00\xff")
            first = [b"first"] if kind.endswith("stream") else []
            c = Call(channel, name, "fail")
            expect(name + ": error", c.finish(), (first, grpc.StatusCode.FAILED_PRECONDITION))
            expect(name + ": message", c.call.details(), "d\u00e9tail 100%")
            expect(name + ": rich error", dict(c.call.trailing_metadata()).get("grpc-status-details-bin"), DETAILS)
            c = Call(channel, name, "hang", timeout=enough)
            expect(name + ": deadline", c.finish(), (first, grpc.StatusCode.DEADLINE_EXCEEDED))
            server_saw(name + ": deadline", "Began")
            server_saw(name + ": deadline", "Ended")
            c = Call(channel, name, "hang")
            server_saw(name + ": cancelled", "Began")
            c.call.cancel()
            expect(name + ": cancelled", c.finish()[1], grpc.StatusCode.CANCELLED)
            server_saw(name + ": cancelled", "Ended")
        try:
            expect("unknown method", channel.unary_unary("/peer.Echo/Missing")(b"", timeout=PATIENCE), "an error")
        except grpc.RpcError as e:
            expect("unknown method", e.code(), grpc.StatusCode.UNIMPLEMENTED)
    print("\n".join(problems))
    sys.exit(1 if problems else 0)


if sys.argv[1] == "server":
    server()
else:
    client(sys.argv[2])
