package zmtp

import (
	"encoding/binary"
	"math"
	"strings"
)

// Names of the properties that RFC 37 defines and this package uses.
const (
	PropertySocketType = "Socket-Type"
	PropertyIdentity   = "Identity"
)

const (
	// propertiesMax bounds the number of properties: libzmq sends two, and an application a few "X-" more.
	propertiesMax = 64
	// IdentityBytesMax is the size of the longest routing id (RFC 37, "The Identity Property").
	IdentityBytesMax = 255
)

// Property is one entry of the metadata that peers exchange at the end of the handshake.
type Property struct {
	Name  string // 1 to 255 of A-Z a-z 0-9 - _ . +; names starting with "X-" are the application's
	Value []byte
}

// Metadata is what a peer says of itself in READY or INITIATE.
type Metadata []Property

// Get returns the value of a property, whatever the case of its name.
func (m Metadata) Get(name string) ([]byte, bool) {
	for _, p := range m {
		if strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return nil, false
}

// SocketType is the peer's socket type, as it wrote it.
func (m Metadata) SocketType() SocketType {
	value, _ := m.Get(PropertySocketType)
	return SocketType(value)
}

// Identity is the peer's routing id; empty when it has none.
func (m Metadata) Identity() []byte {
	value, _ := m.Get(PropertyIdentity)
	return value
}

// Append appends the properties as READY and INITIATE carry them.
func (m Metadata) Append(b []byte) []byte {
	for _, p := range m {
		b = append(append(b, byte(len(p.Name))), p.Name...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(p.Value)))
		b = append(b, p.Value...)
	}
	return b
}

// ParseMetadata reads properties until b ends. Values alias b. A name that comes twice is refused: peers would disagree
// on which one counts.
func ParseMetadata(b []byte) (Metadata, error) {
	var m Metadata
	for len(b) > 0 {
		if len(m) == propertiesMax {
			return nil, malformed(ReasonTooLarge, "more than %d properties", propertiesMax)
		}
		p, rest, err := parseProperty(b)
		if err != nil {
			return nil, err
		}
		if _, twice := m.Get(p.Name); twice {
			return nil, malformed(ReasonMetadata, "property %s comes twice", p.Name)
		}
		m, b = append(m, p), rest
	}
	return m, nil
}

func parseProperty(b []byte) (Property, []byte, error) {
	name, rest := int(b[0]), b[1:]
	if name == 0 {
		return Property{}, nil, malformed(ReasonMetadata, "a property without a name")
	}
	if len(rest) < name+4 {
		return Property{}, nil, malformed(ReasonMetadata, "a property's name of %d bytes is cut off", name)
	}
	for _, c := range rest[:name] {
		if !isMechanismChar(c) && (c < 'a' || c > 'z') {
			return Property{}, nil, malformed(ReasonMetadata, "byte %#02x in a property's name", c)
		}
	}
	p := Property{Name: string(rest[:name])}
	size := binary.BigEndian.Uint32(rest[name:])
	rest = rest[name+4:]
	if size > math.MaxInt32 || uint64(size) > uint64(len(rest)) {
		return Property{}, nil, malformed(ReasonMetadata, "property %s announces %d bytes, %d are there", p.Name, size, len(rest))
	}
	p.Value = rest[:size:size]
	return p, rest[size:], nil
}
