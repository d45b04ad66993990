// Package config reads the gateway's configuration: HCL in, plain values and diagnostics out.
//
// [Load] reads a file, [Parse] reads bytes. Both evaluate every word, check the whole, and return a [Config] that
// can be served as it is, or [Diagnostics] that name the place, show the line, and say what to write instead. All
// that is wrong is reported at once, in file order. Warnings leave the Config usable.
//
// # Order
//
// Blocks are kept in file order. A connection goes to the first relay block, from top to bottom, whose match fits its
// protocol, listener, source and percentage. HTTP/2 that no relay took goes to the grpc blocks, and there each call to
// the most specific one: a full method, then a service, then "*". A block that nothing can reach, and HTTP/2 that both
// a relay and a grpc block claim, are errors.
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
