package grpcproxy

import (
	"errors"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// blockReader puts header blocks together from HEADERS and CONTINUATION and decodes them (RFC 9113 section 4.3).
//
// What a peer can make it hold is bounded: the fields by fieldBytesMax, more are decoded, which HPACK's state needs, and
// dropped; the fragments by fieldBytesMax and fragmentsMax, more end the connection.
type blockReader struct {
	head            frameHeader // of the HEADERS frame
	dependsOnItself bool
	fields          []hpack.HeaderField // of the last whole block
	tooLarge        bool                // some fields were dropped

	decoder       *hpack.Decoder
	fieldBytesMax int
	fieldBytes    int
	begun         bool
	fragments     int
	block         []byte // fragments so far, when there is more than one
}

var errHeaderFlood = errors.New("a header block in too many pieces, or too large")

// fragmentsMax is how many frames may make up a header block.
const fragmentsMax = 64

func (r *blockReader) init(fieldBytesMax int) {
	r.fieldBytesMax = fieldBytesMax
	r.decoder = hpack.NewDecoder(headerTableBytes, r.emit)
	r.decoder.SetMaxStringLength(2 * (fieldBytesMax + frameBytesMax)) // more than add's bound can make, by Huffman's code
}

// open reports whether a block has begun and not ended.
func (r *blockReader) open() bool { return r.begun }

func (r *blockReader) begin(head frameHeader, dependsOnItself bool) {
	r.head, r.dependsOnItself = head, dependsOnItself
	r.begun, r.fragments, r.block = true, 0, r.block[:0]
}

// add takes the next fragment and reports whether the block is whole: then fields and tooLarge tell of it.
func (r *blockReader) add(p []byte, last bool) (whole bool, err error) {
	r.fragments++
	if r.fragments > fragmentsMax || len(r.block)+len(p) > r.fieldBytesMax+frameBytesMax {
		return false, errHeaderFlood
	}
	if r.fragments > 1 || !last {
		r.block = append(r.block, p...)
		p = r.block
	}
	if !last {
		return false, nil
	}
	r.begun = false
	r.fields, r.fieldBytes, r.tooLarge = r.fields[:0], 0, false
	_, err = r.decoder.Write(p)
	if err == nil {
		err = r.decoder.Close()
	}
	if err != nil {
		return false, connError{http2.ErrCodeCompression, "a header block that cannot be decoded: " + err.Error()}
	}
	return true, nil
}

func (r *blockReader) emit(f hpack.HeaderField) {
	r.fieldBytes += int(f.Size())
	if r.fieldBytes > r.fieldBytesMax {
		r.tooLarge = true
		return
	}
	r.fields = append(r.fields, f)
}
