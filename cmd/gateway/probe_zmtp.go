package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"gateway/internal/zmtp"
)

// probeReadyBytesMax bounds a READY that is asked for.
const probeReadyBytesMax = 4 << 10

// probeShare is the part of the time-out that climbing may take, and as much the wait for a READY that comes unasked.
const probeShare = 3

// probeSocketTypes are tried in turn where a server shows its own type only to a client that fits: each server type
// accepts one of them.
var probeSocketTypes = []zmtp.SocketType{"DEALER", "SUB", "PUSH", "PULL", "PAIR"}

// askZMTP reads the greeting, then as much as the mechanism shows.
func askZMTP(ctx context.Context, target probeTarget) answer {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target.addr)
	if err != nil {
		return answer{}
	}
	defer conn.Close()
	// Climbing shows the mechanism before this side has named one. Who climbs too, a gateway that chooses by mechanism, waits
	// for the other side to say more: it gets a whole greeting, on another connection.
	climbing, cancel := context.WithTimeout(ctx, target.timeout/probeShare)
	defer cancel()
	ladder := zmtp.NewLadder(conn)
	major, err := ladder.Major(climbing)
	if err == nil && major < 3 {
		return answer{spoken: true, healthy: true, text: fmt.Sprintf("ZMTP revision %d, older than 3.0", major)}
	}
	var greeting zmtp.Greeting
	if err == nil {
		greeting, err = ladder.Greeting(climbing)
	}
	if err != nil {
		_, said, _ := ladder.HandOver()
		if climbing.Err() == nil || said == 0 {
			return answer{}
		}
		return askOutright(ctx, target)
	}
	known := fmt.Sprintf("ZMTP %d.%d, mechanism %s", greeting.Major, greeting.Minor, greeting.Mechanism)
	switch greeting.Mechanism {
	case zmtp.MechanismNull:
		return askNull(ctx, target, ladder, known)
	case zmtp.MechanismCurve:
		return askCurve(ctx, target, known)
	}
	return answer{spoken: true, healthy: true, text: known}
}

// askOutright names a mechanism first: CURVE if the server's key is known, else NULL.
func askOutright(ctx context.Context, target probeTarget) answer {
	if target.serverKey != nil {
		return askCurve(ctx, target, "ZMTP 3, mechanism CURVE")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target.addr)
	if err != nil {
		return answer{}
	}
	defer conn.Close()
	ladder := zmtp.NewLadder(conn)
	greeting, err := ladder.Exchange(ctx, 1, zmtp.MechanismNull)
	if err != nil {
		return answer{}
	}
	return askNull(ctx, target, ladder, fmt.Sprintf("ZMTP %d.%d, mechanism %s", greeting.Major, greeting.Minor, greeting.Mechanism))
}

// askNull waits for the READY that most NULL peers send unasked. A server may wait for its client's instead (RFC 37), as a
// gateway's zmq block does: it shows its own to a client that fits.
func askNull(ctx context.Context, target probeTarget, ladder *zmtp.Ladder, known string) answer {
	unasked, cancel := context.WithTimeout(ctx, target.timeout/probeShare)
	defer cancel()
	body, err := ladder.FirstCommand(unasked, 1, probeReadyBytesMax)
	if err != nil {
		if kind, ok := shakeNull(ctx, target.addr); ok {
			return answer{spoken: true, healthy: true, text: fmt.Sprintf("%s, handshake complete, socket %s", known, kind)}
		}
		return answer{spoken: true, text: fmt.Sprintf("%s, then no READY: %v", known, err)}
	}
	name, data, err := zmtp.ParseCommand(body)
	if err != nil || string(name) != "READY" {
		return answer{spoken: true, text: fmt.Sprintf("%s, then %.16q instead of READY", known, name)}
	}
	metadata, err := zmtp.ParseMetadata(data)
	if err != nil {
		return answer{spoken: true, text: fmt.Sprintf("%s, then a READY that makes no sense: %v", known, err)}
	}
	return answer{spoken: true, healthy: true, text: fmt.Sprintf("%s, socket %s", known, metadata.SocketType())}
}

// shakeNull makes a whole handshake as whichever client the server takes; it may keep the others waiting.
func shakeNull(ctx context.Context, addr string) (server zmtp.SocketType, ok bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kinds := append([]zmtp.SocketType{zmtp.REQ}, probeSocketTypes...) // a block may match REQ alone
	servers := make(chan zmtp.SocketType, len(kinds))
	var all sync.WaitGroup
	for _, kind := range kinds {
		all.Go(func() {
			conn, err := zmtp.Dial(ctx, "tcp", addr, zmtp.Options{SocketType: kind})
			if err != nil {
				return
			}
			servers <- conn.Peer().SocketType()
			_ = conn.Close() // it was only asked
			cancel()
		})
	}
	all.Wait()
	close(servers)
	server, ok = <-servers
	return server, ok
}

// askCurve makes a whole handshake if the server's key is known.
func askCurve(ctx context.Context, target probeTarget, known string) answer {
	if target.serverKey == nil {
		return answer{spoken: true, healthy: true, text: known + " (-server-key makes a whole handshake)"}
	}
	var last error
	for _, kind := range probeSocketTypes {
		conn, err := zmtp.Dial(ctx, "tcp", target.addr, zmtp.Options{
			SocketType: kind,
			Security:   zmtp.CurveClient{Server: *target.serverKey},
		})
		if err == nil {
			defer conn.Close()
			return answer{spoken: true, healthy: true, text: fmt.Sprintf("%s, handshake complete, socket %s", known, conn.Peer().SocketType())}
		}
		last = err // libzmq closes on a wrong key and on a socket type that does not fit alike
	}
	return answer{spoken: true, text: fmt.Sprintf("%s, handshake failed: %v (is it the right key, and does the server let this client in?)", known, last)}
}
