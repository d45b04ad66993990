package config

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// ZMQ is a zmq block: ZeroMQ clients whose messages become calls, or are forwarded to ZeroMQ services.
type ZMQ struct {
	Name   string
	Match  Match  // what shows before the gateway terminates the client; the mechanism follows from keys and users
	Socket string // what the gateway plays: REP, ROUTER, PULL, PUB

	// What a CURVE or PLAIN client must show once it is terminated; of a NULL client it stands in Match.
	SocketType []string
	Identity   string

	Method     string        // where messages go; empty: they are forwarded
	Stream     bool          // the method is a stream of the client's messages
	Payload    string        // proto, json, envelope; proto when left out
	TopicField int           // the field of a SUB's request that takes the topic; 0: none
	Timeout    time.Duration // 0: left out
	HWM        int           // messages queued for a client; 0: left out
	MaxMessage int64         // bytes; 0: left out

	CurveSecretKey Secret // terminates CURVE; empty: it does not
	CurveClients   string // the file of the public keys that may come; empty: all
	PlainUsers     string // the file of the users that may come; empty: PLAIN is not terminated
	Descriptors    string // the file of a FileDescriptorSet; empty: the backend's reflection

	To      []To     // at least one
	Mirrors []Mirror // none without a method
	Retry   *Retry   // nil: only what no backend has seen is tried again
	Range   hcl.Range
}

// ZMQService is what a backend { zmq } is besides its targets.
type ZMQService struct {
	Socket         string // what the gateway plays: REQ, DEALER, PUSH, SUB
	HWM            int    // messages queued for each connection, and calls in flight; 0: left out
	MaxMessage     int64  // bytes; 0: left out
	Payload        string // proto, json, envelope; proto when left out
	TopicField     int    // the field of a SUB's request in which the topic is; 0: none
	Descriptors    string // the file of a FileDescriptorSet; empty: none
	CurveServerKey string // its public key; empty: NULL
	CurveSecretKey Secret // the gateway's own; empty: a new one for each connection
}

const (
	mechanismCurve = "CURVE"
	mechanismPlain = "PLAIN"

	topicFieldMax = 1<<29 - 1 // protobuf's largest field number
)

// zmqPeers are the types of sockets that what the gateway plays fits (RFC 37, "The Socket-Type Property").
var zmqPeers = map[string][]string{
	"REP": {"REQ", "DEALER"}, "ROUTER": {"REQ", "DEALER", "ROUTER"}, "PULL": {"PUSH"}, "PUB": {"SUB", "XSUB"},
}

// zmqCarriers are the backends' sockets that can take what a zmq block's socket brings. The first alone forwards.
var zmqCarriers = map[string][]string{
	"REP": {"DEALER", "REQ", "PUSH"}, "ROUTER": {"DEALER", "REQ", "PUSH"}, "PULL": {"PUSH", "DEALER", "REQ"}, "PUB": {"SUB", "DEALER"},
}

// zmqs reads the zmq blocks.
func (r *reader) zmqs(blocks []zmqSchema, relays []relaySchema, listeners []Listener, backends []Backend) []ZMQ {
	all := make([]ZMQ, 0, len(blocks))
	for i, b := range blocks {
		for _, relay := range relays {
			if relay.Name == b.Name {
				r.errorAt(b.NameRange, "One name for two blocks", "A relay has the name %s at %s. Logs and metrics tell blocks apart by name: rename one.", quoted(b.Name), Place(relay.NameRange))
			}
		}
		for _, earlier := range blocks[:i] {
			if earlier.Name == b.Name {
				r.errorAt(b.NameRange, "Duplicate zmq block", "%s is defined at %s already. Rename one.", quoted(b.Name), Place(earlier.NameRange))
				break
			}
		}
		all = append(all, r.zmq(b, listeners, backends))
	}
	return all
}

func (r *reader) zmq(b zmqSchema, listeners []Listener, backends []Backend) ZMQ {
	r.checkName("zmq block", b.Name, b.NameRange)
	if b.Socket == nil {
		r.errorAt(b.DefRange, "A zmq block without a socket", "Say what the gateway plays: socket = \"REP\" for REQ and DEALER clients, \"ROUTER\" for several requests at a time, \"PULL\" for PUSH, \"PUB\" for SUB.")
	}
	z := ZMQ{
		Name:       b.Name,
		Socket:     oneOf(r, b.Socket, "REP", "REP", "ROUTER", "PULL", "PUB"),
		Method:     r.method(b.Method),
		Stream:     r.flag(b.Stream),
		Payload:    r.payload(b.Payload),
		TopicField: r.topicField(b.TopicField),
		Timeout:    r.duration(b.Timeout, 0),
		MaxMessage: r.size(b.MaxMessage, messageBytesMax),
		Range:      b.NameRange,
	}
	z.HWM, _ = r.count(b.HWM, 1, hwmMax)
	z.Descriptors = r.checkedPath(b.Descriptors, r.checks.Descriptors)
	r.zmqAccess(b, &z)
	r.zmqMatch(b, &z, listeners)
	z.To = r.destinations(destinations{b.To, b.DefRange, b.NameRange, b.Name, "Messages"}, namesOf(backends))
	z.Retry = r.retry(b.Retry)
	z.Mirrors = r.mirrors(b.Mirror, namesOf(backends))
	r.zmqWords(b, &z)
	r.zmqDestinations(&z, backends)
	return z
}

func namesOf(backends []Backend) []string {
	names := make([]string, len(backends))
	for i, b := range backends {
		names[i] = b.Name
	}
	return names
}

// method reads a full method.
func (r *reader) method(a *hcl.Attribute) string {
	text, ok := r.text(a)
	if ok && (!methodPattern.MatchString(text) || strings.HasSuffix(text, "*")) {
		r.errorAt(a.Expr.Range(), "Bad method", "%s: a method is written in full, as in \"/demo.v1.Greeter/SayHello\".", quoted(text))
	}
	return text
}

func (r *reader) payload(a *hcl.Attribute) string {
	return oneOf(r, a, "proto", "proto", "json", "envelope")
}

func (r *reader) topicField(a *hcl.Attribute) int {
	n, _ := r.count(a, 1, topicFieldMax)
	return n
}

// zmqAccess reads who may come in.
func (r *reader) zmqAccess(b zmqSchema, z *ZMQ) {
	z.CurveSecretKey = r.secretKey(b.CurveSecretKey)
	z.CurveClients = r.checkedPath(b.CurveClients, r.checks.PublicKeys)
	z.PlainUsers = r.checkedPath(b.PlainUsers, r.checks.Users)
	switch {
	case b.CurveClients != nil && b.CurveSecretKey == nil:
		r.errorAt(b.CurveClients.NameRange, "A guard without a gate", "curve_clients says which clients may come by CURVE. It goes with curve_secret_key.")
	case b.PlainUsers != nil && b.CurveSecretKey != nil:
		r.errorAt(b.PlainUsers.NameRange, "Two mechanisms in one block", "A block terminates CURVE or PLAIN. Make a zmq block for each.")
	}
}

// mechanism is what the block's clients must speak.
func (z *ZMQ) mechanism() string {
	switch {
	case z.CurveSecretKey != "":
		return mechanismCurve
	case z.PlainUsers != "":
		return mechanismPlain
	}
	return nullMechanism
}

// zmqMatch reads the match and adds what follows from the block's other words.
func (r *reader) zmqMatch(b zmqSchema, z *ZMQ, listeners []Listener) {
	z.Match = r.match(b.Match, listeners)
	if b.Match != nil && b.Match.Protocol != nil && z.Match.Protocol != ZMTP {
		r.errorAt(b.Match.Protocol.NameRange, "What can never be seen", "A zmq block takes ZeroMQ clients alone. Remove the line.")
	}
	z.Match.Protocol = ZMTP
	mechanism := z.mechanism()
	if b.Match != nil && b.Match.Mechanism != nil && !slices.Equal(z.Match.Mechanism, []string{mechanism}) {
		r.errorAt(b.Match.Mechanism.NameRange, "What can never be seen", "This block speaks %s with its clients: CURVE takes curve_secret_key, PLAIN takes plain_users, and NULL neither. Remove this line.", mechanism)
	}
	fitting := zmqPeers[z.Socket]
	for _, kind := range z.Match.SocketType {
		if !slices.Contains(fitting, kind) {
			r.errorAt(b.Match.SocketType.NameRange, "Sockets that do not fit", "A %s client cannot talk to a %s. Fitting ones are %s.", kind, z.Socket, listed(fitting))
		}
	}
	z.Match.Mechanism = []string{mechanism}
	if mechanism != nullMechanism {
		z.SocketType, z.Identity = z.Match.SocketType, z.Match.Identity
		z.Match.SocketType, z.Match.Identity = nil, ""
	} else if len(z.Match.SocketType) == 0 {
		z.Match.SocketType = fitting
	}
	z.Match.Key = z.CurveSecretKey
}

// zmqWords reports words that mean nothing beside the others.
func (r *reader) zmqWords(b zmqSchema, z *ZMQ) {
	if z.Method == "" && b.Method == nil {
		for _, a := range []*hcl.Attribute{b.Payload, b.Stream, b.Timeout, b.TopicField, b.Descriptors} {
			if a != nil {
				r.errorAt(a.NameRange, "Nothing to translate", "Without a method, messages are forwarded to ZeroMQ backends as they are: %s means nothing. Remove it, or name a method.", a.Name)
			}
		}
		for _, m := range b.Mirror {
			r.errorAt(m.BackendRange, "Nothing to compare", "Without a method there are no calls that a mirror could get copies of. Name a method, or remove the block.")
		}
		if b.Retry != nil {
			r.errorAt(b.Retry.DefRange, "Nothing to try again", "Without a method there are no calls. Name a method, or remove the block.")
		}
		return
	}
	if b.Stream != nil && z.Socket != "ROUTER" && z.Socket != "PULL" {
		r.errorAt(b.Stream.NameRange, "No stream here", "stream goes with socket = \"ROUTER\", one bidirectional call for each client, or \"PULL\", one client stream for each.")
	}
	if b.TopicField != nil && z.Socket != "PUB" {
		r.errorAt(b.TopicField.NameRange, "No topic here", "topic_field says where a subscriber's topic goes. It goes with socket = \"PUB\".")
	}
	if b.Descriptors != nil && z.Payload != "json" {
		r.errorAt(b.Descriptors.NameRange, "Descriptors for nothing", "Only payload = \"json\" needs the types of messages. Remove the line.")
	}
}

// zmqDestinations reports backends that cannot take what the block brings.
func (r *reader) zmqDestinations(z *ZMQ, backends []Backend) {
	for _, to := range z.To {
		at := slices.IndexFunc(backends, func(b Backend) bool { return b.Name == to.Backend })
		if at < 0 {
			continue
		}
		service, carriers := backends[at].ZMQ, zmqCarriers[z.Socket]
		switch {
		case service == nil && z.Method == "":
			r.errorAt(to.Range, "Which method?", "%s speaks gRPC. Say what messages become: method = \"/package.Service/Method\"", quoted(to.Backend))
		case service == nil:
		case z.Method == "" && service.Socket != carriers[0]:
			r.errorAt(to.Range, "Sockets that do not fit", "%s forwards to backends with socket = %q, and %s has %s.", z.Socket, carriers[0], quoted(to.Backend), service.Socket)
		case !slices.Contains(carriers, service.Socket):
			r.errorAt(to.Range, "Sockets that do not fit", "What comes to a %s cannot go on through a %s, as %s has it. Fitting ones are %s.", z.Socket, service.Socket, quoted(to.Backend), listed(carriers))
		}
	}
}

// zmqService reads the words of a backend { zmq }.
func (r *reader) zmqService(b backendSchema) *ZMQService {
	if b.Socket == nil {
		r.errorAt(b.DefRange, "A backend without a socket", "Say what the gateway plays towards it: socket = \"DEALER\" for a REP or ROUTER, \"REQ\" for one that does not echo envelopes, \"PUSH\" for a PULL, \"SUB\" for a PUB.")
	}
	s := &ZMQService{
		Socket:         oneOf(r, b.Socket, "DEALER", "DEALER", "REQ", "PUSH", "SUB"),
		MaxMessage:     r.size(b.MaxMessage, messageBytesMax),
		Payload:        r.payload(b.Payload),
		TopicField:     r.topicField(b.TopicField),
		Descriptors:    r.checkedPath(b.Descriptors, r.checks.Descriptors),
		CurveSecretKey: r.secretKey(b.CurveSecretKey),
		CurveServerKey: r.publicKey(b.CurveServerKey),
	}
	s.HWM, _ = r.count(b.HWM, 1, hwmMax)
	switch {
	case b.CurveSecretKey != nil && b.CurveServerKey == nil:
		r.errorAt(b.CurveSecretKey.NameRange, "Half of CURVE", "To connect by CURVE the gateway must know the service's public key: curve_server_key = \"...\"")
	case b.TopicField != nil && s.Socket != "SUB":
		r.errorAt(b.TopicField.NameRange, "No topic here", "topic_field says where the topic of a call's request is. It goes with socket = \"SUB\".")
	case s.Payload == "json" && b.Descriptors == nil:
		r.errorAt(b.Payload.NameRange, "JSON without types", "A ZeroMQ service cannot tell the types of messages. Name them: descriptors = \"service.binpb\", as protoc --include_imports --descriptor_set_out writes it.")
	case s.Payload != "json" && b.Descriptors != nil:
		r.errorAt(b.Descriptors.NameRange, "Descriptors for nothing", "Only payload = \"json\" needs the types of messages. Remove the line.")
	}
	return s
}

// meter reads the meter block; nil is the block left out.
func (r *reader) meter(b *meterSchema) string {
	if b == nil {
		return ""
	}
	if b.File == nil {
		r.errorAt(b.DefRange, "A meter without a file", "Who speaks ZeroMQ is counted in any case; to keep it over a restart, say where: file = \"meter.json\"")
	}
	return r.path(b.File)
}
