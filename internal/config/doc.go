// Package config reads the gateway's configuration: HCL in, plain values and diagnostics out.
//
// [Load] reads a file, [Parse] reads bytes. Both evaluate every word, check the whole, and return a [Config] that
// can be served as it is, or [Diagnostics] that name the place, show the line, and say what to write instead. All
// that is wrong is reported at once, in file order. Warnings leave the Config usable.
//
// # Order
//
// Blocks are kept in file order, and a connection goes to the first block that fits:
//
//  1. A relay whose match names the protocol and fits the listener, the source and the percentage.
//  2. HTTP/2 that no relay asked for: the grpc blocks, if there are any. A call goes to the most specific one: a
//     full method, then a service, then "*".
//  3. A relay with protocol = "any" takes what no other kind of block claims.
//
// Relays are compared among themselves strictly from top to bottom, so "any" stands below the ones that name a
// protocol. A block that nothing can reach, and a file that two readers could understand in two ways, are errors.
//
// # Words
//
// schema.go lists every word. To add one: a field there, a field in config.go, a line in the block's own file that
// turns the one into the other, and the word in demo/full.hcl (a test holds that file equal to the schema).
//
// Words left out that have their default elsewhere (a time-out of the dialer, a cap of the listener) stay zero.
//
// # Secrets
//
// A secret is a [Secret], which prints as "(secret)". Source lines quoted in diagnostics have the text of secret
// words blanked out.
package config
