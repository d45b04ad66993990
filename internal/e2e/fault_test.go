package e2e

import (
	"errors"
	"math/rand/v2"
	"net"
	"time"
)

// fault is what goes wrong on a client's side.
type fault int

const (
	faultNone     fault = iota
	faultSlow           // its first bytes come one by one
	faultReset          // RST in the middle
	faultHalf           // FIN in the middle, and it reads on
	faultAbandon        // says no more, stays for a while, and goes
	faultOversize       // floods with what no protocol allows
	faultCount
)

var faultNames = [faultCount]string{"none", "slow", "reset", "half close", "abandoned", "oversized"}

const (
	slowBytes    = 40 // of a slow client; then it is in a hurry
	slowPause    = 200 * time.Microsecond
	abandonedFor = 20 * time.Millisecond // longer would only keep clients waiting
	floodBytes   = 64 << 10
)

// errFault is what a client's own writing ends with when its fault has happened.
var errFault = errors.New("the fault happened")

// faulty is a client's connection on which a fault happens once so many bytes are written.
type faulty struct {
	*net.TCPConn
	fault fault
	after int
}

// randomFault lets one in three go wrong; a greeting ends early more often than a long conversation.
func randomFault(r *rand.Rand, c net.Conn) *faulty {
	f := &faulty{TCPConn: c.(*net.TCPConn), after: 1 + r.IntN(100)}
	if r.IntN(3) == 0 {
		f.fault = 1 + fault(r.IntN(int(faultCount)-1))
	}
	return f
}

// harmless tells whether the client must be served all the same.
func (f *faulty) harmless() bool { return f.fault == faultNone || f.fault == faultSlow }

func (f *faulty) Write(b []byte) (int, error) {
	switch {
	case f.fault == faultNone:
		return f.TCPConn.Write(b)
	case f.fault == faultSlow:
		return f.dribble(b)
	case f.after > len(b):
		f.after -= len(b)
		return f.TCPConn.Write(b)
	case f.after > 0:
		if n, err := f.TCPConn.Write(b[:f.after]); err != nil {
			return n, err
		}
		f.after = 0
		f.happen()
	}
	return 0, errFault
}

// dribble takes the write for a slow client; after stands for how many bytes it has sent.
func (f *faulty) dribble(b []byte) (n int, err error) {
	for n < len(b) && f.after < slowBytes && err == nil {
		_, err = f.TCPConn.Write(b[n : n+1])
		n++
		f.after++
		time.Sleep(slowPause) // the client's pace
	}
	if n < len(b) && err == nil {
		var more int
		more, err = f.TCPConn.Write(b[n:])
		n += more
	}
	return n, err
}

func (f *faulty) happen() {
	buf := make([]byte, 4<<10)
	switch f.fault {
	case faultReset:
		f.SetLinger(0)
		f.TCPConn.Close()
	case faultHalf, faultAbandon:
		if f.fault == faultHalf {
			f.CloseWrite()
		}
		f.SetReadDeadline(time.Now().Add(abandonedFor))
		for {
			if _, err := f.TCPConn.Read(buf); err != nil {
				return
			}
		}
	case faultOversize:
		f.SetWriteDeadline(time.Now().Add(abandonedFor)) // an echo server's answers are not read
		for sent := 0; sent < floodBytes; sent += len(buf) {
			for i := range buf {
				buf[i] = 0xff
			}
			if _, err := f.TCPConn.Write(buf); err != nil {
				return
			}
		}
	}
}
