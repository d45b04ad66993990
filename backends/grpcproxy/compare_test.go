package grpcproxy

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"testing"
)

// gzipped is a compressed message of so many zeros, with its header.
func gzipped(t *testing.T, size int) []byte {
	t.Helper()
	var small bytes.Buffer
	w := gzip.NewWriter(&small)
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	header := binary.BigEndian.AppendUint32([]byte{1}, uint32(small.Len()))
	return append(header, small.Bytes()...)
}

func TestAnswersThatGrowAreComparedWithinABound(t *testing.T) {
	half := gzipped(t, plainBytesMax/2)
	if all, err := (reply{body: bytes.Repeat(half, 2), encoding: "gzip"}).messages(); err != nil || len(all) != 2 {
		t.Errorf("%d messages that fit: %v", len(all), err)
	}
	if all, err := (reply{body: bytes.Repeat(half, 3), encoding: "gzip"}).messages(); err == nil {
		t.Errorf("%d messages take more than %d bytes", len(all), plainBytesMax)
	}
}
