package zmtp

// Subscription asks a PUB or XPUB for the messages whose first frame starts with Topic, or stops asking.
//
// ZMTP 3.0 writes it as a message (a byte 1 or 0, then the topic), 3.1 as a SUBSCRIBE or CANCEL command. libzmq reads
// both from anyone and writes what fits the peer's minor version; so does this package.
type Subscription struct {
	Topic  []byte // a prefix; empty matches everything
	Cancel bool
}

// ParseSubscriptionMessage reads the 3.0 form, a single-frame message. The topic aliases body.
func ParseSubscriptionMessage(body []byte) (Subscription, bool) {
	if len(body) == 0 || body[0] > 1 {
		return Subscription{}, false
	}
	return Subscription{Topic: body[1:], Cancel: body[0] == 0}, true
}

// ParseSubscriptionCommand reads the 3.1 form, from what ParseCommand returned. The topic aliases data.
func ParseSubscriptionCommand(name, data []byte) (Subscription, bool) {
	switch string(name) {
	case nameSubscribe:
		return Subscription{Topic: data}, true
	case nameCancel:
		return Subscription{Topic: data, Cancel: true}, true
	}
	return Subscription{}, false
}

// appendBody appends the body in the form for a peer of this minor version, and says whether it is a command.
func (s Subscription) appendBody(b []byte, peerMinor byte) (body []byte, command bool) {
	if peerMinor == 0 {
		kind := byte(1)
		if s.Cancel {
			kind = 0
		}
		return append(append(b, kind), s.Topic...), false
	}
	name := nameSubscribe
	if s.Cancel {
		name = nameCancel
	}
	return append(appendCommandName(b, name), s.Topic...), true
}
