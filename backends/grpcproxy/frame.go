package grpcproxy

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
)

// Frames as bytes, both ways: RFC 9113 sections 4.1 and 6. Everything here is pure. The frame types, flags and error
// codes are those of golang.org/x/net/http2; its Framer is not used, because it allocates for most frames that it reads.

const (
	frameHeaderBytes = 9
	// frameBytesMax is the largest payload that we accept and send: what every peer must accept (section 4.2).
	frameBytesMax = 16384
	// windowMax is the largest flow-control window (section 6.9.1).
	windowMax = 1<<31 - 1
)

// frameHeader is the nine bytes before every payload.
type frameHeader struct {
	length uint32
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

// has reports whether all of flags are set.
func (h frameHeader) has(flags http2.Flags) bool { return h.flags&flags == flags }

// connError ends a connection: it is sent with GOAWAY (section 5.4.1).
type connError struct {
	code   http2.ErrCode
	reason string
}

func (e connError) Error() string { return fmt.Sprintf("%v: %s", e.code, e.reason) }

// streamError ends a stream: it is sent with RST_STREAM (section 5.4.2).
type streamError struct {
	stream uint32
	code   http2.ErrCode
	reason string
}

func (e streamError) Error() string {
	return fmt.Sprintf("stream %d: %v: %s", e.stream, e.code, e.reason)
}

func malformed(stream uint32, reason string) error {
	return streamError{stream, http2.ErrCodeProtocol, reason}
}

// parseFrameHeader reads the first nine bytes of b.
func parseFrameHeader(b []byte) frameHeader {
	_ = b[frameHeaderBytes-1]
	return frameHeader{
		length: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]),
		kind:   http2.FrameType(b[3]),
		flags:  http2.Flags(b[4]),
		stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31), // the reserved bit is ignored
	}
}

// unpad takes padding off a DATA or HEADERS payload (sections 6.1 and 6.2).
func (h frameHeader) unpad(p []byte) ([]byte, error) {
	if !h.has(http2.FlagDataPadded) {
		return p, nil
	}
	if len(p) == 0 {
		return nil, connError{http2.ErrCodeFrameSize, "a padded frame without its pad length"}
	}
	pad := int(p[0])
	if pad >= len(p) {
		return nil, connError{http2.ErrCodeProtocol, "padding as long as the frame"}
	}
	return p[1 : len(p)-pad], nil
}

func appendFrameHeader(b []byte, length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendWindowUpdate(b []byte, stream uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, http2.FrameWindowUpdate, 0, stream), uint32(n))
}

func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, http2.FrameRSTStream, 0, stream), uint32(code))
}

func appendSettings(b []byte, settings ...http2.Setting) []byte {
	b = appendFrameHeader(b, settingBytes*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(s.ID)), s.Val)
	}
	return b
}

func appendSettingsAck(b []byte) []byte {
	return appendFrameHeader(b, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
}

func appendPing(b []byte, flags http2.Flags, data []byte) []byte {
	return append(appendFrameHeader(b, len(data), http2.FramePing, flags, 0), data...)
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode, reason string) []byte {
	b = appendFrameHeader(b, 8+len(reason), http2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, last), uint32(code))
	return append(b, reason...)
}

// settingBytes is the size of one setting (section 6.5.1).
const settingBytes = 6

// parseSetting reads the first six bytes of p.
func parseSetting(p []byte) http2.Setting {
	return http2.Setting{ID: http2.SettingID(binary.BigEndian.Uint16(p)), Val: binary.BigEndian.Uint32(p[2:])}
}

// splitHeaders cuts the HEADERS frame that begins at b[start:] into frames of at most frameBytesMax, the rest as
// CONTINUATION (section 6.10). The frame's header must be there; its length is not looked at.
func splitHeaders(b []byte, start int, flags http2.Flags, stream uint32) []byte {
	length := len(b) - start - frameHeaderBytes
	if length <= frameBytesMax {
		appendFrameHeader(b[:start], length, http2.FrameHeaders, flags|http2.FlagHeadersEndHeaders, stream)
		return b
	}
	block := append([]byte(nil), b[start+frameHeaderBytes:]...)
	b = appendFrameHeader(b[:start], frameBytesMax, http2.FrameHeaders, flags, stream)
	b = append(b, block[:frameBytesMax]...)
	for block = block[frameBytesMax:]; len(block) > 0; {
		n := min(len(block), frameBytesMax)
		var last http2.Flags
		if n == len(block) {
			last = http2.FlagContinuationEndHeaders
		}
		b = append(appendFrameHeader(b, n, http2.FrameContinuation, last, stream), block[:n]...)
		block = block[n:]
	}
	return b
}
