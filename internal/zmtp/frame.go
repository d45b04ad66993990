package zmtp

import (
	"encoding/binary"
	"math"
)

// Flags is the first byte of a frame (RFC 37, "Framing").
type Flags byte

// The flags that exist; bits 3 to 7 must be zero.
const (
	FlagMore    Flags = 1 << 0 // another frame of the same message follows
	FlagLong    Flags = 1 << 1 // the size takes eight bytes
	FlagCommand Flags = 1 << 2 // not for the application

	flagsKnown = FlagMore | FlagLong | FlagCommand
)

const (
	shortFrameBytesMax  = 255
	frameHeaderBytesMax = 9
)

// FrameHeader is what comes before a frame's body.
type FrameHeader struct {
	Flags Flags
	Size  uint64 // of the body, at most 2^63-1
}

// More says that another frame of the same message follows.
func (h FrameHeader) More() bool { return h.Flags&FlagMore != 0 }

// Command says that the body is a command.
func (h FrameHeader) Command() bool { return h.Flags&FlagCommand != 0 }

// ParseFrameHeader reads the header at the start of b and says how many bytes it took; 0 means that more are needed.
// A header that breaks the rules is an error as soon as its first bad byte is there. A long size for a short body is
// accepted, as RFC 37 only recommends the short one.
func ParseFrameHeader(b []byte) (FrameHeader, int, error) {
	if len(b) == 0 {
		return FrameHeader{}, 0, nil
	}
	flags := Flags(b[0])
	if flags&^flagsKnown != 0 {
		return FrameHeader{}, 0, malformed(ReasonFrame, "frame flags %#02x use reserved bits", b[0])
	}
	if flags&FlagCommand != 0 && flags&FlagMore != 0 {
		return FrameHeader{}, 0, malformed(ReasonFrame, "frame flags %#02x: a command cannot have MORE", b[0])
	}
	if flags&FlagLong == 0 {
		if len(b) < 2 {
			return FrameHeader{}, 0, nil
		}
		return FrameHeader{Flags: flags, Size: uint64(b[1])}, 2, nil
	}
	if len(b) < frameHeaderBytesMax {
		return FrameHeader{}, 0, nil
	}
	size := binary.BigEndian.Uint64(b[1:])
	if size > math.MaxInt64 {
		return FrameHeader{}, 0, malformed(ReasonFrame, "frame size %d is above 2^63-1", size)
	}
	return FrameHeader{Flags: flags, Size: size}, frameHeaderBytesMax, nil
}

// AppendFrameHeader appends the header of a body of size bytes, short where it fits. FlagLong in flags is ignored.
func AppendFrameHeader(b []byte, flags Flags, size int) []byte {
	flags &^= FlagLong
	if size <= shortFrameBytesMax {
		return append(b, byte(flags), byte(size))
	}
	return binary.BigEndian.AppendUint64(append(b, byte(flags|FlagLong)), uint64(size))
}
