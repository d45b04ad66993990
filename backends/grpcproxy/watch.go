package grpcproxy

// The watch: what happens when nothing happens. One goroutine looks at all connections and all waiting calls once a
// second; each limit below therefore holds to the second.

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	watchInterval = time.Second
	// frameWait is how long a frame, or a header block, may take from its first byte to its last.
	frameWait = 30 * time.Second
	// pingWait is how long a peer has to say anything after a keepalive PING.
	pingWait = 20 * time.Second
	// waitMax is how long a call may wait for a connection or a free stream, if its own deadline is not sooner.
	waitMax = 30 * time.Second
)

// keepalivePing marks our PING when the peer is silent.
const keepalivePing = "still on"

// watch runs as long as the proxy.
func (p *Proxy) watch() {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
			p.look()
		}
	}
}

// look is one round of the watch.
func (p *Proxy) look() {
	now := p.now()
	p.metrics.GRPC.Buffered.Set(float64(p.budget.used.Load()))
	p.mu.Lock()
	conns := make([]*conn, 0, len(p.callers)+len(p.others))
	for c := range p.callers {
		conns = append(conns, c)
	}
	for c := range p.others {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	var b batch
	for _, c := range conns {
		c.look(now, &b)
	}
	p.mu.Lock()
	backends := slices.Concat(p.backends, p.leaving)
	p.mu.Unlock()
	for _, be := range backends {
		be.look(now, &b)
	}
	b.run()
	p.endLeaving(now)
}

// look ends the connection when the peer has left a frame unfinished or does not answer, and pings a silent one.
func (c *conn) look(now time.Duration, b *batch) {
	if since := c.partialSince.Load(); since != 0 && now-time.Duration(since) > frameWait {
		c.proxy.abuses.WithLabelValues("slow").Inc()
		c.abort(fmt.Errorf("a frame was not finished within %v", frameWait))
		return
	}
	if since := c.stuckSince.Load(); since != 0 && now-time.Duration(since) > writeWait {
		c.writable(b) // the loop is told when a third of the kernel's buffer is free: a slow reader may not get there
		c.mu.Lock()
		still := c.out.stuck != nil && c.stuckSince.Load() == since // or the loop is at it
		c.mu.Unlock()
		if still {
			c.abort(fmt.Errorf("the peer has taken nothing for %v", writeWait))
			return
		}
	}
	if !c.greeted.Load() {
		if now-c.since > handshakeWait {
			c.abort(fmt.Errorf("no SETTINGS within %v", handshakeWait))
		}
		return
	}
	silent := now - time.Duration(c.readAt.Load())
	if silent <= c.proxy.keepalive {
		c.pinged = false
		return
	}
	if !c.pinged {
		if _, backend := c.role.(*backendConn); backend && c.open.Load() == 0 {
			return // gRPC servers take pings without calls amiss
		}
		c.pinged = true
		c.ping(keepalivePing, b)
		return
	}
	if silent > c.proxy.keepalive+pingWait {
		c.abort(fmt.Errorf("no answer to a ping within %v", pingWait))
	}
}

// ping sends a PING; data is 8 bytes.
func (c *conn) ping(data string, b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return
	}
	buf := c.out.buffer()
	buf.bytes = appendPing(buf.bytes, 0, []byte(data))
	b.touch(c)
}

// look ends the waiting of calls that have waited for too long, and the ejections whose time is over.
func (be *backend) look(now time.Duration, b *batch) {
	be.readmit(now)
	if be.queued.Load() > 0 {
		b.wake(be)
	}
	for {
		be.mu.Lock()
		call := be.waiting.first()
		if call == nil || now-call.waitSince <= waitMax {
			be.mu.Unlock()
			return
		}
		be.unlink(call)
		be.mu.Unlock()
		call.mu.Lock()
		if !call.done && call.server == nil {
			call.waitedEnough(b)
		}
		call.mu.Unlock()
	}
}

// waitedEnough ends a call that has waited for waitMax: for a free stream, or for a backend to come back.
func (call *call) waitedEnough(b *batch) {
	if call.route.WaitForReady {
		call.fail(codes.Unavailable, fmt.Sprintf("the gateway could not reach backend %q within %v", call.backend.Name, waitMax), b)
		return
	}
	call.fail(codes.ResourceExhausted, fmt.Sprintf("backend %q had no free stream within %v", call.backend.Name, waitMax), b)
}
