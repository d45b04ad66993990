package zmtp

import (
	"math"
	"testing"
)

func TestFrameHeaderTakesTheShortFormUpTo255(t *testing.T) {
	for size, want := range map[int]string{
		0:     "\x00\x00",
		255:   "\x00\xff",
		256:   "\x02\x00\x00\x00\x00\x00\x00\x01\x00",
		65536: "\x02\x00\x00\x00\x00\x00\x01\x00\x00",
	} {
		b := AppendFrameHeader(nil, 0, size)
		if string(b) != want {
			t.Errorf("size %d is written as % x, want % x", size, b, want)
		}
		for cut := range len(b) {
			if _, n, err := ParseFrameHeader(b[:cut]); n != 0 || err != nil {
				t.Errorf("size %d cut at %d: took %d bytes, %v", size, cut, n, err)
			}
		}
		if h, n, err := ParseFrameHeader(b); n != len(b) || err != nil || h.Size != uint64(size) {
			t.Errorf("size %d is read as %+v, %d, %v", size, h, n, err)
		}
	}
}

func TestShortBodyWithLongSizeIsAccepted(t *testing.T) {
	h, n, err := ParseFrameHeader([]byte("\x03\x00\x00\x00\x00\x00\x00\x00\x05hello"))
	if err != nil || n != 9 || h.Size != 5 || !h.More() || h.Command() {
		t.Fatalf("got %+v, %d, %v", h, n, err)
	}
}

func TestBadFrameHeaderIsRefusedAtItsFirstByte(t *testing.T) {
	for _, flags := range []byte{0x08, 0x10, 0x20, 0x40, 0x80, 0xFF, 0x05, 0x07} {
		_, _, err := ParseFrameHeader([]byte{flags})
		wantReason(t, "flags", err, ReasonFrame)
	}
}

func TestFrameSizeOf2To63IsRefusedAndOneLessIsRead(t *testing.T) {
	_, _, err := ParseFrameHeader([]byte("\x02\x80\x00\x00\x00\x00\x00\x00\x00"))
	wantReason(t, "2^63", err, ReasonFrame)
	h, _, err := ParseFrameHeader([]byte("\x02\x7f\xff\xff\xff\xff\xff\xff\xff"))
	if err != nil || h.Size != math.MaxInt64 {
		t.Fatalf("2^63-1: %+v, %v", h, err)
	}
}

func FuzzFrameHeader(f *testing.F) {
	f.Add([]byte("\x00\x05hello"))
	f.Add([]byte("\x02\x40\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseFrameHeader(b)
		if err != nil || n == 0 {
			return
		}
		if n > len(b) || h.Size > math.MaxInt64 || h.Command() && h.More() {
			t.Fatalf("% x was read as %+v, %d bytes", b, h, n)
		}
		if h.Size > math.MaxInt {
			return
		}
		again, _, err := ParseFrameHeader(AppendFrameHeader(nil, h.Flags, int(h.Size)))
		if err != nil || again.Size != h.Size || again.More() != h.More() || again.Command() != h.Command() {
			t.Fatalf("%+v was read back as %+v, %v", h, again, err)
		}
	})
}
