// Package relay moves bytes both ways between two connections until both have ended.
//
// # What a relay promises
//
//   - What was read before the relay began (Prefixed) is delivered first. After that a relay is byte-identical.
//   - FIN is passed on, after all bytes before it; the other direction goes on for as long as it likes
//     (Limits.HalfClosed bounds its silence).
//   - A peer that vanishes, or closes with unread bytes in its kernel, does not take along what it had sent: all of it is
//     delivered, then FIN. Meanwhile the other peer, whose bytes nobody can receive any more, is read and its bytes are
//     discarded until it closes too (Limits.Drain). Closing its connection earlier would answer its next byte with RST, and that
//     makes libzmq drop messages that it has received but not read: of 3000 messages, a relay that
//     closes both connections on the first EOF delivers 12, one that passes FIN on and stops reading about 1000.
//   - A reset is passed on as FIN, never as RST, for the same reason.
//   - A slow reader slows its peer: a direction holds one buffer at most, and reads nothing before that is written.
//   - Both connections are closed before done is called, and done is called exactly once.
//
// A Group counts its relays, shows them as they stand and ends them at shutdown.
package relay
