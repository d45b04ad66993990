package pair

// Behind a gate the handshake is carried command by command, so that one that does not complete gives the worker back, and one
// that is not even well-formed does not reach it. Nothing can be opened: what is checked is the order of the commands, their
// names and their sizes. The last byte of the last command is the last one that is looked at.

import (
	"errors"
	"fmt"
	"os"
	"time"

	"gateway/internal/zmtp"
)

const (
	// shakeCommandBytesMax bounds a command of a handshake: metadata has no limit of its own (RFC 37).
	shakeCommandBytesMax = 16 << 10

	// initiateBytesMin is the size of a CURVE INITIATE without metadata (RFC 26).
	initiateBytesMin = 257
)

// turn is who is to speak next in a handshake, and with which command.
type turn struct {
	worker bool
	name   string
}

// turns are the commands that follow a client's first. Of a mechanism that is not here nothing is watched.
var turns = map[zmtp.Mechanism][]turn{
	zmtp.MechanismNull:  {{true, "READY"}},
	zmtp.MechanismPlain: {{true, "WELCOME"}, {false, "INITIATE"}, {true, "READY"}},
	zmtp.MechanismCurve: {{true, "WELCOME"}, {false, "INITIATE"}, {true, "READY"}},
}

// shake carries the rest of the handshake.
func (p *pairing) shake() *failure {
	for _, t := range turns[p.client.mechanism] {
		from, to, count := &p.client.peer, &p.worker.peer, &p.toWorker
		if t.worker {
			from, to, count = to, from, &p.toClient
		}
		frame, failed := p.await(t, from, to)
		if failed != nil {
			return failed
		}
		refused, err := checkTurn(t, p.client.mechanism, frame)
		if err != nil {
			return &failure{end: Handshake, err: err}
		}
		_ = to.conn.SetWriteDeadline(p.deadline)
		n, err := to.conn.Write(frame)
		count.Add(int64(n))
		if err != nil {
			return &failure{end: endOf(err), err: fmt.Errorf("pair: handshake: pass %s on: %w", t.name, err)}
		}
		_ = to.conn.SetWriteDeadline(time.Time{})
		if refused {
			return &failure{end: Handshake, err: errRefused}
		}
	}
	return nil
}

var errRefused = errors.New("pair: handshake: the worker refused the client with ERROR")

// checkTurn looks at one command frame.
func checkTurn(t turn, m zmtp.Mechanism, frame []byte) (refused bool, err error) {
	_, header, err := zmtp.ParseFrameHeader(frame)
	if err != nil {
		return false, err
	}
	body := frame[header:]
	name, data, err := zmtp.ParseCommand(body)
	switch {
	case err != nil:
		return false, err
	case t.worker && string(name) == "ERROR":
		_, err := zmtp.ParseError(data)
		return true, err
	case string(name) != t.name:
		return false, fmt.Errorf("pair: handshake: %.16q where %s is due", name, t.name)
	case m == zmtp.MechanismCurve && t.name == "INITIATE" && len(body) < initiateBytesMin:
		return false, fmt.Errorf("pair: handshake: an INITIATE of %d bytes, want at least %d", len(body), initiateBytesMin)
	}
	return false, nil
}

// await reads the command of one side, while the other's tap notices whether that leaves.
func (p *pairing) await(t turn, from, to *peer) ([]byte, *failure) {
	_ = from.conn.SetReadDeadline(p.deadline)
	to.tap.open(func() { _ = from.conn.SetReadDeadline(longAgo) })
	frame, err := from.frame()
	left := to.tap.close()
	_ = from.conn.SetReadDeadline(time.Time{})
	switch {
	case left != nil:
		return nil, &failure{end: Handshake, err: fmt.Errorf("pair: handshake: %s left: %w", sideOf(!t.worker), left)}
	case err != nil:
		end := endOf(err)
		err = fmt.Errorf("pair: handshake: waiting for %s of %s: %w", t.name, sideOf(t.worker), err)
		return nil, &failure{end: end, err: err, silent: end == Unfinished && t.worker && p.toClient.Load() == 0}
	}
	return frame, nil
}

func sideOf(worker bool) string {
	if worker {
		return "the worker (another server key than the client expects?)"
	}
	return "the client"
}

// frame reads one command frame, whole; what came behind it stays in the tap.
func (p *peer) frame() ([]byte, error) {
	for {
		header, n, err := zmtp.ParseFrameHeader(p.tap.kept)
		switch {
		case err != nil:
			return nil, err
		case n > 0 && !header.Command():
			return nil, errors.New("pair: handshake: a message before the handshake was complete")
		case n > 0 && header.Size > shakeCommandBytesMax:
			return nil, fmt.Errorf("pair: handshake: a command of %d bytes, at most %d", header.Size, shakeCommandBytesMax)
		case n > 0 && len(p.tap.kept) >= n+int(header.Size):
			end := n + int(header.Size)
			frame := p.tap.kept[:end:end]
			p.tap.kept = p.tap.kept[end:]
			return frame, nil
		}
		var chunk [512]byte
		got, err := p.conn.Read(chunk[:])
		p.tap.kept = append(p.tap.kept, chunk[:got]...)
		if err != nil && got == 0 {
			return nil, err
		}
	}
}

// endOf tells a handshake that took too long from one that failed.
func endOf(err error) End {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Unfinished
	}
	return Handshake
}

// learn records how a handshake ended.
func (r *Rendezvous) learn(p *pairing, failed *failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case failed == nil:
		p.shaken = true
		r.sources.succeed(p.client.source, r.now())
	case failed.end != Stopped && !failed.silent: // one whose key is wrong is refused, not ignored: silent workers are dead ones
		r.sources.fail(p.client.source, r.now())
	}
}

// failing tells whether a client comes from where handshakes keep failing.
func (r *Rendezvous) failing(c *client) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gated() && r.sources.failing(c.source, r.now())
}
