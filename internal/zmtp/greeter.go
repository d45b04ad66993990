package zmtp

// Greeter is the greeting of one connection as a state machine, without I/O: it says what to write next and takes what
// came. It answers a peer step by step, because what a peer shows depends on what it has seen: libzmq sends its version
// after the other's signature, and the rest after the other's version, while others send all at once.
//
//	said                      the peer is then seen up to
//	nothing                   its signature (10 bytes)
//	SignatureBytes            its major version (byte 11)
//	SignatureBytes + 1        its whole greeting (64 bytes): minor version, mechanism
//	GreetingBytes             its first command
type Greeter struct {
	seen []byte // at most GreetingBytes
	said int
}

// Wants is how many bytes the next Take needs to complete what can be seen now; 0 when nothing more comes before this
// side says more.
func (g *Greeter) Wants() int {
	switch {
	case g.said == 0:
		return max(0, SignatureBytes-len(g.seen))
	case g.said == SignatureBytes:
		return max(0, SignatureBytes+1-len(g.seen))
	}
	return GreetingBytes - len(g.seen)
}

// Take takes bytes of the greeting from the start of b and says how many. It refuses bytes that no ZMTP peer sends; a
// major version below 3 is not refused before the peer's whole greeting is wanted.
func (g *Greeter) Take(b []byte) (used int, err error) {
	used = min(len(b), GreetingBytes-len(g.seen))
	g.seen = append(g.seen, b[:used]...)
	if err := checkSignature(g.seen); err != nil {
		return used, inStep(StepGreeting, err)
	}
	if g.said > SignatureBytes && len(g.seen) > majorAt {
		if err := checkMajor(g.seen[majorAt]); err != nil {
			return used, inStep(StepGreeting, err)
		}
	}
	return used, nil
}

// Seen returns all that was taken.
func (g *Greeter) Seen() []byte { return g.seen }

// Said is how many bytes were said: 0, SignatureBytes, SignatureBytes + 1 or GreetingBytes.
func (g *Greeter) Said() int { return g.said }

// Major is the peer's major version, once it was seen.
func (g *Greeter) Major() (major byte, ok bool) {
	if len(g.seen) <= majorAt {
		return 0, false
	}
	return g.seen[majorAt], true
}

// Greeting is the peer's greeting, once all of it was seen.
func (g *Greeter) Greeting() (Greeting, error) {
	greeting, err := ParseGreeting(g.seen)
	return greeting, inStep(StepGreeting, err)
}

// Say returns the bytes to write so that upto bytes of own have been said in all. What was said before is not repeated.
func (g *Greeter) Say(upto int, own Greeting) []byte {
	if upto <= g.said {
		return nil
	}
	b := own.Append(nil)[g.said:upto]
	g.said = upto
	return b
}
