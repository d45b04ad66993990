// Package relay moves bytes both ways between two connections until both have ended.
//
// # What a relay promises
//
//   - What was read before the relay began (Prefixed) is delivered first. After that a relay is byte-identical.
//   - FIN is passed on, after all bytes before it; the other direction goes on for as long as it likes
//     (Limits.HalfClosed bounds its silence).
//   - A peer that vanishes, or closes with unread bytes in its kernel, does not take along what we have of it: all of that is
//     delivered, then FIN. Meanwhile the other peer, whose bytes nobody can receive any more, is read and its bytes are
//     discarded until it closes too (Limits.Drain). Closing its connection earlier would answer its next byte with RST, and
//     that makes libzmq drop messages that it has received but not read.
//   - A reset is passed on as FIN, never as RST, for the same reason.
//   - A slow reader slows its peer: a direction holds one buffer at most and reads nothing before that is written. The
//     exception is a peer that does not take its own bytes either. When it closes, its kernel sends RST and drops what it has
//     still to send, so it is read ahead of its destination, up to 8 MiB. Of 3000 messages that libzmq was sending when it
//     closed, a relay that closes both connections on the first EOF delivers 12, one that passes FIN on and stops
//     reading about 1000, one that drains about 2300, and one that also reads ahead 3000.
//   - All that is held for slow readers is bounded for all relays together (SetBuffersMax).
//   - Both connections are closed before done is called, and done is called exactly once.
//
// A Group counts its relays, shows them as they stand and ends them at shutdown.
//
// # Two engines
//
// On Linux, pairs of raw TCP and unix sockets are served by event loops. Elsewhere, and for what is no raw socket (TLS), a
// goroutine a direction does it: the portable engine. What happens to a relay is decided in one place for both (course.go),
// and one test suite runs against both. The portable engine holds 2 KiB a direction while idle, does not read ahead, and
// notices a peer that vanishes after its FIN only by Limits.HalfClosed.
//
// # The hot path
//
// There is one loop a processor, a goroutine each, with an epoll set of its own; pairs are dealt out in turn and stay. A pair is
// one object of 192 bytes and the two descriptors: no goroutine, no buffer, no net.Conn (those are closed when the relay
// starts, or were never made: internal/bare), no entry in Go's poller.
//
// A message costs one recvfrom and one sendto; a batch of ready sockets costs one epoll_pwait. There is no read that finds the
// socket empty: readiness is edge-triggered, so after a short read the kernel tells of whatever comes later. Only after
// EPOLLRDHUP, an error or urgent data, where a short read proves nothing, is a socket read until it says so. EPOLLOUT is asked for
// after a write fell short, not before; a unix socket would signal it whenever its peer reads. Both ways of a pair belong
// to one loop, so nothing is locked; the counts that /status shows are atomics.
//
// Nothing is allocated for a message. A loop reads into a buffer of its own, and that is written from at once. Only what the
// destination does not take is kept: a little is copied, a lot keeps the buffer, and the loop takes another from the pool. The
// buffer is 512 KiB, not for its own sake: the more is moved at once, the fewer segments, acknowledgements and wake-ups
// the kernel has with it, and a GiB costs half of what it costs with 64 KiB. That beats splice, which saves a copy that
// the cache makes cheap, and costs two pipes' descriptors.
//
// System calls on ready sockets are raw: telling Go's scheduler that a goroutine may block, and finding out that it did not, costs
// more than such a call. Only the epoll_pwait that waits is announced, and even then a loop keeps its processor for a while:
// that is why each loop adds one to GOMAXPROCS. Without a spare processor the scheduler's monitor takes the loop's away and
// wakes every 20 microseconds to do so, which is a tenth of all time at 75 000 messages a second. For the same reason a loop
// yields every 5 ms, before it would be interrupted. A busy loop asks for events without waiting first.
//
// The clock is read once a batch, not for a message. Time-outs look at the byte counts four times within their bound, from a heap that is touched when a
// relay starts, ends, or changes its phase. One pair moves at most 1 MiB a direction before it is the others' turn. The
// ends of relays are reported, in batches, from other goroutines: whoever writes the log may block.
package relay
