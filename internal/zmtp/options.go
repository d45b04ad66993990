package zmtp

import (
	"fmt"
	"time"
)

// Defaults of Options.
const (
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultMessageBytesMax  = 16 << 20
	DefaultPartsMax         = 1024
	DefaultMetadataBytesMax = 8 << 10
	DefaultReadBufferBytes  = 16 << 10
	DefaultWriteBufferBytes = 64 << 10
)

// readBufferBytesMin is what the longest frame header needs, with room to spare.
const readBufferBytesMin = 64

// Options say who this side is and what it puts up with. Only SocketType is required.
type Options struct {
	SocketType SocketType
	Identity   []byte   // the routing id that REQ, DEALER and ROUTER announce, at most 255 bytes, not starting with 0
	Metadata   Metadata // more properties to announce; names should start with "X-"
	Security   Security // nil = Null{}
	Announce30 bool     // announce ZMTP 3.0; false = 3.1

	HandshakeTimeout time.Duration // 0 = 10 s, from the first byte to the last of the handshake
	MessageBytesMax  int           // 0 = 16 MiB, all parts of a received message together
	FrameBytesMax    int           // 0 = MessageBytesMax, one part of a received message
	PartsMax         int           // 0 = 1024 parts of a received message
	MetadataBytesMax int           // 0 = 8 KiB, what the peer says of itself in the handshake

	ReadBufferBytes  int // 0 = 16 KiB a connection
	WriteBufferBytes int // 0 = 64 KiB, accepted by Send and not yet taken by the writer; a larger message goes alone

	Heartbeat Heartbeat
}

// Heartbeat finds dead peers. It works while Recv is being called. PINGs of the peer are answered in any case.
type Heartbeat struct {
	Interval time.Duration // send a PING when nothing came for so long; 0 = send none
	Timeout  time.Duration // end the connection when so long after a PING nothing came; 0 = Interval
	TTL      time.Duration // what the PING asks of the peer: end the connection after so long a silence; 0 = nothing
}

// withDefaults fills in what was left at zero.
func (o Options) withDefaults() Options {
	orElse := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	if o.Security == nil {
		o.Security = Null{}
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = DefaultHandshakeTimeout
	}
	orElse(&o.MessageBytesMax, DefaultMessageBytesMax)
	orElse(&o.FrameBytesMax, o.MessageBytesMax)
	orElse(&o.PartsMax, DefaultPartsMax)
	orElse(&o.MetadataBytesMax, DefaultMetadataBytesMax)
	orElse(&o.ReadBufferBytes, DefaultReadBufferBytes)
	orElse(&o.WriteBufferBytes, DefaultWriteBufferBytes)
	o.ReadBufferBytes = max(o.ReadBufferBytes, readBufferBytesMin)
	if o.Heartbeat.Timeout == 0 {
		o.Heartbeat.Timeout = o.Heartbeat.Interval
	}
	return o
}

func (o Options) validate() error {
	if !o.SocketType.Valid() {
		return fmt.Errorf("zmtp: options: %q is no socket type", o.SocketType)
	}
	if len(o.Identity) > IdentityBytesMax || len(o.Identity) > 0 && o.Identity[0] == 0 {
		return fmt.Errorf("zmtp: options: an identity has at most %d bytes and does not start with a zero", IdentityBytesMax)
	}
	for _, p := range o.Metadata {
		if len(p.Name) == 0 || len(p.Name) > 255 {
			return fmt.Errorf("zmtp: options: a property's name has 1 to 255 characters, not %d", len(p.Name))
		}
	}
	for _, size := range []int{o.MessageBytesMax, o.FrameBytesMax, o.PartsMax, o.MetadataBytesMax, o.WriteBufferBytes} {
		if size < 0 {
			return fmt.Errorf("zmtp: options: a limit is negative: %d", size)
		}
	}
	return nil
}

func (o Options) minor() byte {
	if o.Announce30 {
		return 0
	}
	return 1
}

// local is what a handshake announces and checks.
func (o Options) local(accepts bool) local {
	m := Metadata{{Name: PropertySocketType, Value: []byte(o.SocketType)}}
	if o.SocketType.carriesIdentity() {
		m = append(m, Property{Name: PropertyIdentity, Value: o.Identity})
	}
	return local{metadata: append(m, o.Metadata...), check: o.SocketType.checkPeer, accepts: accepts}
}
