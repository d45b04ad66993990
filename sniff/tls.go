package sniff

import "encoding/binary"

const (
	// The record header (RFC 8446, section 5.1) is type, version and length; the handshake's type follows.
	tlsRecordHeaderBytes = 5
	tlsClientHelloBytes  = tlsRecordHeaderBytes + 1

	tlsFragmentBytesMax = 1 << 14 // RFC 8446, section 5.1
	tlsClientHello      = 0x01    // RFC 8446, section 4
)

// probeTLS accepts a handshake record (16) of major version 3 that opens with a ClientHello. The minor version says
// nothing: RFC 8446 section 5.1 has it ignored. A first record of any size up to the limit is legal, for a ClientHello
// may be split over several; an empty one is not.
func probeTLS(prefix []byte) Verdict {
	if v := literal(prefix, "\x16\x03"); v != Accept {
		return v
	}
	if len(prefix) < tlsRecordHeaderBytes {
		// The high byte alone tells a length that is too large.
		if len(prefix) == tlsRecordHeaderBytes-1 && int(prefix[3])<<8 > tlsFragmentBytesMax {
			return Reject
		}
		return NeedMore
	}
	if length := binary.BigEndian.Uint16(prefix[3:]); length == 0 || length > tlsFragmentBytesMax {
		return Reject
	}
	if len(prefix) < tlsClientHelloBytes {
		return NeedMore
	}
	if prefix[tlsClientHelloBytes-1] != tlsClientHello {
		return Reject
	}
	return Accept
}
