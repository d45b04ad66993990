package sniff

// prefixBytesMax is the most that is read to classify a connection. The longest signature, the HTTP/2 preface, has 24 bytes; with
// a whole ZMTP 3 greeting (RFC 23) in one read, a relay passes it on in one packet.
const prefixBytesMax = 64

// Verdict is what a probe says of the bytes seen so far.
type Verdict int8

// The verdicts. Accept and Reject are final: more bytes do not change them.
const (
	NeedMore Verdict = iota
	Reject
	Accept
)

// String returns "need more", "reject" or "accept".
func (v Verdict) String() string {
	switch v {
	case NeedMore:
		return "need more"
	case Reject:
		return "reject"
	case Accept:
		return "accept"
	}
	return "unknown verdict"
}

// Probe judges the first bytes of a connection. It is pure: it neither keeps nor changes prefix. Any prefix may come,
// the empty one too.
type Probe func(prefix []byte) Verdict

// Protocol is something that a connection can be recognised as.
type Protocol struct {
	Name      string
	PrefixMax int // bytes after which Probe has decided; 0 and more than 64 mean 64
	Probe     Probe
}

// The protocols that the package knows. Treat them as read-only.
var (
	ZMTP  = Protocol{Name: "zmtp", PrefixMax: zmtpSignatureBytes, Probe: probeZMTP}
	HTTP2 = Protocol{Name: "http2", PrefixMax: len(http2Preface), Probe: probeHTTP2}
	HTTP1 = Protocol{Name: "http1", PrefixMax: http1MethodBytesMax, Probe: probeHTTP1}
	TLS   = Protocol{Name: "tls", PrefixMax: tlsClientHelloBytes, Probe: probeTLS}
	SSH   = Protocol{Name: "ssh", PrefixMax: len(sshBanner), Probe: probeSSH}
)

// All lists them.
var All = []Protocol{ZMTP, HTTP2, HTTP1, TLS, SSH}

// Classify asks every probe about prefix. It accepts with the name of the first protocol that accepts; otherwise it
// needs more as long as one protocol does. The name is empty unless the verdict is Accept.
func Classify(protocols []Protocol, prefix []byte) (name string, v Verdict) {
	v = Reject
	for i := range protocols {
		switch protocols[i].judge(prefix) {
		case Accept:
			return protocols[i].Name, Accept
		case NeedMore:
			v = NeedMore
		}
	}
	return "", v
}

// Finding is one probe's opinion.
type Finding struct {
	Protocol string
	Verdict  Verdict
}

// Explain returns what each of protocols says of prefix, in their order: why Classify decides as it does.
func Explain(protocols []Protocol, prefix []byte) []Finding {
	findings := make([]Finding, len(protocols))
	for i := range protocols {
		findings[i] = Finding{protocols[i].Name, protocols[i].judge(prefix)}
	}
	return findings
}

// limit is how many bytes p may look at.
func (p *Protocol) limit() int {
	if p.PrefixMax <= 0 || p.PrefixMax > prefixBytesMax {
		return prefixBytesMax
	}
	return p.PrefixMax
}

// judge holds a probe to its own limit: it never sees more, and one that is undecided there has rejected. So no probe,
// whoever wrote it, keeps a connection waiting for bytes that nobody reads.
func (p *Protocol) judge(prefix []byte) Verdict {
	limit := p.limit()
	v := p.Probe(prefix[:min(len(prefix), limit)])
	if v == NeedMore && len(prefix) >= limit {
		return Reject
	}
	return v
}

// literal judges prefix against a signature that is the same for every client.
func literal(prefix []byte, signature string) Verdict {
	n := min(len(prefix), len(signature))
	switch {
	case string(prefix[:n]) != signature[:n]:
		return Reject
	case n < len(signature):
		return NeedMore
	}
	return Accept
}
