// Package sockjs lets browsers talk to ZeroMQ programs: SockJS or plain WebSocket on one side, PUSH and PULL on the other.
//
// A [Server] is one prefix of an HTTP server. Below it lie all transports of SockJS 0.3.3 (websocket, xhr, xhr-streaming,
// eventsource, htmlfile, jsonp; for these also in an iframe), the plain WebSocket /websocket without SockJS's framing, and
// sockjs-client itself at /sockjs.min.js, so that pages need no other host.
//
// # Programs
//
// Messages have three parts: type, session id, data. The gateway pushes
//
//	connect     a browser came; data is empty, or JSON about the client if the options say so
//	message     it said something
//	disconnect  it has gone; data is empty
//
// and pulls
//
//	message     for the browser of that session
//	disconnect  end that session, after what was sent before; data is ignored
//	broadcast   for all browsers of this prefix; the session id is ignored
//
// Session ids are made here, unguessable and never used twice; the names that browsers give their sessions stay inside.
// Every session has one connect, and after it exactly one disconnect; between them its messages keep their order, both
// ways. Several programs that pull share the messages in turn, as PUSH does, so that one session's go to all of them: let
// one of them pull, or keep no state in them.
//
// Programs may come and go. What a program had been given when it died is lost with it, as everywhere with PUSH; what it
// had not been given goes to the next one.
//
// What is not of this form (other than three parts, unknown type, unknown session, for SockJS also data that is not UTF-8)
// is counted, logged at most once a second for each reason, and dropped.
//
// # Slow programs, slow browsers
//
// Programs that do not keep up fill the queue of the PUSH socket. From then on the gateway reads nothing more from the
// browsers that have something to say: WebSockets fill up, requests stay unanswered. Nothing is lost. Where there is no
// program at all, this is so from the first message on; Options.RefuseWithoutPeer answers new sessions with 503 instead.
//
// What waits for a browser that does not keep up is bounded by SendBufferBytesMax. One byte more ends its session: what
// waited is dropped and counted, and the program gets its disconnect. Others notice nothing.
//
// # Pages of other origins
//
// Every page may connect unless Options.Origins names those that may. Then requests with another Origin are refused. JSONP,
// EventSource and htmlfile requests have none; they are let in from pages of these origins by their Referer, and the
// iframe page lets itself be framed by them alone. Programs send no Origin, and can always connect.
package sockjs
