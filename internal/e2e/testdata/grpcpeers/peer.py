"""A gRPC peer by Debian's grpcio (C-core), without protobuf: messages are bytes.

    peer.py server             serves peer.Echo, prints its port
    peer.py client HOST:PORT   calls each of its methods, prints what is wrong, exits 0 if nothing is
"""

import sys
import threading
from concurrent import futures

import grpc

DETAILS = b"\x08\x09\x12\x04rich"
cancelled = threading.Semaphore(0)


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-echo", metadata.get("x-echo", "")),))
    context.set_trailing_metadata((("x-trail-bin", metadata.get("x-echo-bin", b"")),))
    return request


def down(request, context):
    for n in range(int(request)):
        yield b"%d" % n


def up(requests, context):
    return b",".join(requests)


def both(requests, context):
    yield from requests


def fail(request, context):
    context.set_trailing_metadata((("grpc-status-details-bin", DETAILS),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "d\u00e9tail 100%")


def hang(request, context):
    done = threading.Event()
    context.add_callback(done.set)
    done.wait(20)
    cancelled.release()
    return b""


def ended(request, context):
    """Answers when a hung call has ended."""
    return b"yes" if cancelled.acquire(timeout=10) else b"no"


def server():
    s = grpc.server(futures.ThreadPoolExecutor(16))
    s.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peer.Echo", {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Ended": grpc.unary_unary_rpc_method_handler(ended),
    }),))
    port = s.add_insecure_port("127.0.0.1:0")
    s.start()
    print(port, flush=True)
    sys.stdin.read()  # until the test closes it
    s.stop(0)


def client(target):
    problems = []

    def expect(what, got, want):
        if got != want:
            problems.append("%s: got %r, want %r" % (what, got, want))

    def failure(call):
        try:
            return "answered %r" % call()
        except grpc.RpcError as e:
            return e

    with grpc.insecure_channel(target) as channel:
        def method(kind, name):
            return getattr(channel, kind)("/peer.Echo/" + name)

        big = bytes(range(256)) * 4000
        reply, call = method("unary_unary", "Unary").with_call(
            big, timeout=20, metadata=(("x-echo", "hello"), ("x-echo-bin", b"\x00\xff")))
        expect("unary", reply, big)
        expect("initial metadata", dict(call.initial_metadata()).get("x-echo"), "hello")
        expect("trailing metadata", dict(call.trailing_metadata()).get("x-trail-bin"), b"\x00\xff")
        expect("server stream", list(method("unary_stream", "Down")(b"50", timeout=20)), [b"%d" % n for n in range(50)])
        expect("client stream", method("stream_unary", "Up")(iter([b"a", b"b", b"c"]), timeout=20), b"a,b,c")
        expect("both ways", list(method("stream_stream", "Both")(iter([b"x", b"y" * 70000]), timeout=20)), [b"x", b"y" * 70000])
        e = failure(lambda: method("unary_unary", "Fail")(b"", timeout=20))
        expect("code", getattr(e, "code", lambda: e)(), grpc.StatusCode.FAILED_PRECONDITION)
        expect("message", getattr(e, "details", lambda: e)(), "d\u00e9tail 100%")
        expect("rich error", dict(e.trailing_metadata()).get("grpc-status-details-bin"), DETAILS)
        e = failure(lambda: method("unary_unary", "Hang")(b"", timeout=0.3))
        expect("deadline", getattr(e, "code", lambda: e)(), grpc.StatusCode.DEADLINE_EXCEEDED)
        expect("server saw the deadline", method("unary_unary", "Ended")(b"", timeout=20), b"yes")
        hung = method("unary_unary", "Hang").future(b"", timeout=20)
        hung.cancel()
        expect("cancelled", hung.cancelled(), True)
        hung = method("stream_stream", "Both")(iter(lambda: threading.Event().wait(1) and b"", b"end"), timeout=20)
        hung.cancel()
        expect("stream cancelled", hung.code(), grpc.StatusCode.CANCELLED)
        e = failure(lambda: method("unary_unary", "Missing")(b"", timeout=20))
        expect("unknown method", getattr(e, "code", lambda: e)(), grpc.StatusCode.UNIMPLEMENTED)
    print("\n".join(problems))
    sys.exit(1 if problems else 0)


if sys.argv[1] == "server":
    server()
else:
    client(sys.argv[2])
