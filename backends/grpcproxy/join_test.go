package grpcproxy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// dataFrame is a DATA frame as bytes.
func dataFrame(stream uint32, flags http2.Flags, payload string) []byte {
	return append(appendFrameHeader(nil, len(payload), http2.FrameData, flags, stream), payload...)
}

// shown tells a frame's kind, stream, flags and payload, the latter in short.
func shown(h frameHeader, p []byte) string {
	if len(p) > 20 {
		p = fmt.Appendf(nil, "%d bytes", len(p))
	}
	return fmt.Sprintf("%v %d/%x %s", h.kind, h.stream, byte(h.flags), p)
}

// framesIn reads all frames of b, joining those that gather joins.
func framesIn(t *testing.T, b []byte, gather bool) (all []string, rest int) {
	t.Helper()
	in := newInput(nil, b)
	defer in.release()
	for {
		h, p, ok, err := in.next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all, in.w - in.r
		}
		if gather && h.kind == http2.FrameData {
			h, p = in.gather(h, p)
		}
		if int(h.length) != len(p) {
			t.Errorf("%s has length %d", shown(h, p), h.length)
		}
		all = append(all, shown(h, p))
	}
}

// TestSmallDataFramesAreReadAsOne joins what comes in one read.
func TestSmallDataFramesAreReadAsOne(t *testing.T) {
	const end, padded = http2.FlagDataEndStream, http2.FlagDataPadded
	half := strings.Repeat("h", frameBytesMax/2)
	for name, c := range map[string]struct {
		frames [][]byte
		want   []string
		rest   int
	}{
		"of one stream":   {[][]byte{dataFrame(1, 0, "one"), dataFrame(1, 0, "two"), dataFrame(1, 0, "three")}, []string{"DATA 1/0 onetwothree"}, 0},
		"to its end":      {[][]byte{dataFrame(1, 0, "one"), dataFrame(1, end, "two"), dataFrame(1, 0, "late")}, []string{"DATA 1/1 onetwo", "DATA 1/0 late"}, 0},
		"of two streams":  {[][]byte{dataFrame(1, 0, "a"), dataFrame(3, 0, "b"), dataFrame(3, 0, "c"), dataFrame(1, 0, "d")}, []string{"DATA 1/0 a", "DATA 3/0 bc", "DATA 1/0 d"}, 0},
		"with padding":    {[][]byte{dataFrame(1, 0, "a"), dataFrame(1, padded, "\x01b0"), dataFrame(1, 0, "c")}, []string{"DATA 1/0 a", "DATA 1/8 \x01b0", "DATA 1/0 c"}, 0},
		"padded first":    {[][]byte{dataFrame(1, padded, "\x01b0"), dataFrame(1, 0, "c")}, []string{"DATA 1/8 \x01b0", "DATA 1/0 c"}, 0},
		"empty":           {[][]byte{dataFrame(1, 0, "a"), dataFrame(1, 0, ""), dataFrame(1, 0, "b"), dataFrame(1, end, "")}, []string{"DATA 1/0 a", "DATA 1/0 ", "DATA 1/0 b", "DATA 1/1 "}, 0},
		"empty first":     {[][]byte{dataFrame(1, 0, ""), dataFrame(1, 0, "b")}, []string{"DATA 1/0 ", "DATA 1/0 b"}, 0},
		"with others":     {[][]byte{dataFrame(1, 0, "a"), appendWindowUpdate(nil, 1, 7), dataFrame(1, 0, "b")}, []string{"DATA 1/0 a", "WINDOW_UPDATE 1/0 \x00\x00\x00\x07", "DATA 1/0 b"}, 0},
		"up to a frame":   {[][]byte{dataFrame(1, 0, half), dataFrame(1, 0, half), dataFrame(1, 0, "x")}, []string{"DATA 1/0 16384 bytes", "DATA 1/0 x"}, 0},
		"larger together": {[][]byte{dataFrame(1, 0, half), dataFrame(1, 0, half+"x")}, []string{"DATA 1/0 8192 bytes", "DATA 1/0 8193 bytes"}, 0},
		"not yet whole":   {[][]byte{dataFrame(1, 0, "one"), dataFrame(1, 0, "two")[:11]}, []string{"DATA 1/0 one"}, 11},
		"half a header":   {[][]byte{dataFrame(1, 0, "one"), dataFrame(1, 0, "two")[:8]}, []string{"DATA 1/0 one"}, 8},
	} {
		t.Run(name, func(t *testing.T) {
			got, rest := framesIn(t, bytes.Join(c.frames, nil), true)
			if !slices.Equal(got, c.want) || rest != c.rest {
				t.Errorf("got %q and %d bytes, want %q and %d", got, rest, c.want, c.rest)
			}
		})
	}
}

// TestDataLeavesInLargeFrames joins what leaves in one write.
func TestDataLeavesInLargeFrames(t *testing.T) {
	half := bytes.Repeat([]byte("h"), frameBytesMax/2)
	var o output
	data := func(stream uint32, end bool, p string) { o.appendData(stream, end, []byte(p)) }
	data(1, false, "one")
	data(1, false, "two")
	data(3, false, "a")
	data(1, false, "three")
	data(1, true, "")
	data(1, false, "past the end")
	buf := o.buffer()
	buf.bytes = appendWindowUpdate(buf.bytes, 1, 7)
	data(1, false, "behind another frame")
	written := slices.Clone(o.take().bytes)
	data(1, false, "in the next write")
	data(5, false, string(half))
	data(5, false, string(half))
	data(5, false, "x")
	written = append(written, o.take().bytes...)
	got, rest := framesIn(t, written, false)
	want := []string{
		"DATA 1/0 onetwo", "DATA 3/0 a", "DATA 1/1 three", "DATA 1/0 past the end", "WINDOW_UPDATE 1/0 \x00\x00\x00\x07",
		"DATA 1/0 behind another frame", "DATA 1/0 in the next write", "DATA 5/0 16384 bytes", "DATA 5/0 x",
	}
	if !slices.Equal(got, want) || rest != 0 {
		t.Errorf("got %q and %d bytes, want %q", got, rest, want)
	}
}
