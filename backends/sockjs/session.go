package sockjs

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"gateway/internal/zmtp"
)

// session is one browser from connect to disconnect.
//
// Rules. Towards the programs: whoever holds the turn may send; welcome holds it first and says connect, farewell takes
// it last and says disconnect, what was read from the browser goes out in between. Only a program that takes nothing makes
// them wait; waiting ends with the server's lifetime. Towards the browser: post never waits; one receiver at a time
// attaches, takes frames and detaches. What take returned is the receiver's until it takes again or detaches.
// finish ends the session once, from anywhere; what was posted before is still delivered, unless the browser is too slow.
// A session holds its place until its disconnect was taken (told) and its browser cannot come back (linger is over).
// Locks: the server's before the session's.
type session struct {
	server    *Server
	id        string // ours: unguessable, and the one that programs know
	name      string // the browser's, for HTTP transports; it may clash and is never told to programs
	transport endpoint

	turn    chan struct{} // a place of one: full while somebody sends for the session
	senders atomic.Int32  // requests that wait for the turn
	message zmtp.Message  // guarded by turn
	told    chan struct{} // closed when disconnect was taken, or nothing can be any more
	parted  bool          // disconnect was taken; valid once told is closed

	wake chan struct{} // a place of one: there may be something to take
	hold atomic.Int32  // what keeps the place: the farewell and the browser

	mu       sync.Mutex
	opened   bool // the open frame was taken
	attached bool
	ended    bool
	goodbye  []byte // the close frame
	why      ending
	outbox   outbox
	idleFor  int // counts detachments: an older one's timer means nothing
	connect  []byte
}

// ending is why a session ended: for the browser, and for the metrics.
type ending struct {
	code   int // SockJS's own are those of sockjs-node; the others come from RFC 6455, section 7.4.1
	reason string
	label  string
	hurry  bool // what waits for the browser is dropped
	silent bool // a WebSocket is closed without a word
}

// The ways in which a session ends.
var (
	endProgram     = ending{code: 3000, reason: "Go away!", label: "program"}
	endTooBig      = ending{code: 1009, reason: "Message too big", label: "too_big"}
	endStopping    = ending{code: 1001, reason: "Server is stopping", label: "stopping"}
	endTimeout     = ending{code: 1002, reason: "Connection timed out", label: "timeout", hurry: true}
	endClient      = ending{code: 1000, reason: "Normal closure", label: "client", hurry: true, silent: true}
	endInterrupted = ending{code: 1002, reason: "Connection interrupted", label: "interrupted", hurry: true, silent: true}
	endBroken      = ending{code: 1002, reason: "Broken framing", label: "broken", hurry: true, silent: true}
	endSlow        = ending{code: 1008, reason: "Reading too slowly", label: "slow", hurry: true, silent: true}
	endUnborn      = ending{label: "handshake"} // no program ever heard of it
)

// busyFrame refuses a second receiver (SockJS 0.3.3, "Protocol and framing").
var busyFrame = closeFrame(2010, "Another connection still open")

// placeHolders are the farewell and the browser.
const placeHolders = 2

func newSession(s *Server, e endpoint, name string, connect []byte) *session {
	c := &session{
		server: s, id: rand.Text(), name: name, transport: e, connect: connect,
		turn: make(chan struct{}, 1), told: make(chan struct{}), wake: make(chan struct{}, 1),
		outbox: outbox{raw: e == rawWebSocketPath},
	}
	c.turn <- struct{}{}
	c.hold.Store(placeHolders)
	return c
}

// release gives up one of the two holds on the place.
func (c *session) release() {
	if c.hold.Add(-1) == 0 {
		c.server.forget(c)
	}
}

// finish ends the session; only the first call counts.
func (c *session) finish(why ending) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended, c.why, c.goodbye = true, why, closeFrame(why.code, why.reason)
	c.opened = c.opened || why.hurry
	if why.hurry {
		c.loseWaiting()
	}
	c.mu.Unlock()
	c.notify()
	c.server.meters.ended(c.transport, why.label)
	go c.farewell()
	if c.name != "" { // browsers may ask again, and get the goodbye
		time.AfterFunc(c.server.options.DisconnectDelay, c.release)
	}
}

// loseWaiting drops and counts what the browser will not get any more. c.mu is held.
func (c *session) loseWaiting() {
	for range c.outbox.waiting {
		c.server.meters.drop(dropUndelivered)
	}
	c.outbox.clear()
}

// abandon takes a session back of which no program has heard. It reports false when others have ended it already.
func (c *session) abandon() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.ended, c.why = true, endUnborn
	c.server.meters.ended(c.transport, endUnborn.label)
	go func() {
		c.server.unreachable(c)
		c.parted = true
		close(c.told)
		c.release()
	}()
	return true
}

func (c *session) finished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// notify tells the receiver to look.
func (c *session) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// post queues a message for the browser. It reports false when the session has ended.
func (c *session) post(data []byte) bool {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return false
	}
	c.outbox.add(data)
	full := c.outbox.bytes() > c.server.options.SendBufferBytesMax
	c.mu.Unlock()
	if full {
		c.finish(endSlow)
		return true
	}
	c.server.meters.out.Inc()
	c.notify()
	return true
}

// frame is what a receiver gets.
type frame struct {
	text []byte
	kind frameKind
}

type frameKind int8

const (
	frameNone      frameKind = iota
	frameUsual               // text as the transport wants it
	frameHeartbeat           // made up: it would go without saying where the transport has its own
	frameLast                // the goodbye
)

// take returns the next frame, if there is one.
func (c *session) take() frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.opened {
		c.opened = true
		if !c.outbox.raw {
			return frame{[]byte(openFrame), frameUsual}
		}
	}
	if text := c.outbox.take(); text != nil {
		return frame{text, frameUsual}
	}
	if c.ended {
		return frame{c.goodbye, frameLast}
	}
	return frame{}
}

// attachment is what somebody who wants to receive gets.
type attachment int8

const (
	attached     attachment = iota // may take frames and must detach
	attachedBusy                   // another one receives
	attachedLate                   // another one receives the last of an ended session: the goodbye is all there is
)

func (c *session) attach() attachment {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.attached && c.ended:
		return attachedLate
	case c.attached:
		return attachedBusy
	}
	c.attached = true
	return attached
}

// detach ends receiving. The browser has DisconnectDelay to come back.
func (c *session) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attached = false
	if c.ended {
		return
	}
	c.idleFor++
	at := c.idleFor
	time.AfterFunc(c.server.options.DisconnectDelay, func() { c.expire(at) })
}

// expire ends the session unless somebody has received since.
func (c *session) expire(at int) {
	c.mu.Lock()
	idle := !c.attached && c.idleFor == at
	c.mu.Unlock()
	if idle {
		c.finish(endTimeout)
	}
}

// next waits for a frame. Nothing for the time of a heartbeat makes one.
func (c *session) next(ctx context.Context, heartbeat *time.Timer) (frame, error) {
	heartbeat.Reset(c.server.options.Heartbeat)
	for {
		if f := c.take(); f.kind != frameNone {
			return f, nil
		}
		select {
		case <-c.wake:
		case <-heartbeat.C:
			return frame{[]byte(heartbeatFrame), frameHeartbeat}, nil
		case <-ctx.Done():
			return frame{}, ctx.Err()
		}
	}
}
