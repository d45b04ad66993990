package zmtp

import (
	"errors"
	"fmt"
	"testing"
)

const libzmqMetadata = "\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x02me"

func TestMetadataOfLibzmqIsReadAndWrittenAlike(t *testing.T) {
	m, err := ParseMetadata([]byte(libzmqMetadata))
	if err != nil || m.SocketType() != DEALER || string(m.Identity()) != "me" {
		t.Fatalf("%v, %v", m, err)
	}
	if b := m.Append(nil); string(b) != libzmqMetadata {
		t.Fatalf("written as %q", b)
	}
	if v, ok := m.Get("SOCKET-type"); !ok || string(v) != "DEALER" {
		t.Fatalf("names are case-sensitive: %q, %v", v, ok)
	}
}

func TestMetadataCutAnywhereIsRefused(t *testing.T) {
	for cut := 1; cut < len(libzmqMetadata); cut++ {
		if cut == 22 {
			continue // just behind the first property
		}
		if m, err := ParseMetadata([]byte(libzmqMetadata[:cut])); err == nil {
			t.Errorf("cut at %d: read as %v", cut, m)
		}
	}
}

func TestHostileMetadataIsRefused(t *testing.T) {
	for name, b := range map[string]string{
		"value of 4 GiB":   "\x01A\xff\xff\xff\xffx",
		"value of 2 GiB":   "\x01A\x80\x00\x00\x00x",
		"no name":          "\x00\x00\x00\x00\x00",
		"name with space":  "\x03A B\x00\x00\x00\x00",
		"name with a zero": "\x01\x00\x00\x00\x00\x00",
		"twice":            "\x01A\x00\x00\x00\x00\x01a\x00\x00\x00\x00",
	} {
		_, err := ParseMetadata([]byte(b))
		wantReason(t, name, err, ReasonMetadata)
	}
	var many Metadata
	for i := range propertiesMax + 1 {
		many = append(many, Property{Name: fmt.Sprintf("X-%d", i)})
	}
	_, err := ParseMetadata(many.Append(nil))
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d properties: %v", len(many), err)
	}
}

func TestSocketTypesFitAsTheRFCSays(t *testing.T) {
	for own, peers := range legalPeers {
		for peer := range legalPeers {
			if own.Fits(peer) != peer.Fits(own) {
				t.Errorf("%s and %s do not agree whether they fit", own, peer)
			}
		}
		m := Metadata{{Name: PropertySocketType, Value: []byte(peers[0])}}
		if err := own.checkPeer(m); err != nil {
			t.Errorf("%s with %s: %v", own, peers[0], err)
		}
	}
	for name, m := range map[string]Metadata{
		"missing": nil,
		"unknown": {{Name: PropertySocketType, Value: []byte("GOOSE")}},
		"no fit":  {{Name: PropertySocketType, Value: []byte("PUB")}},
	} {
		wantReason(t, name, REP.checkPeer(m), ReasonSocketType)
	}
	long := Metadata{{Name: PropertySocketType, Value: []byte("REQ")}, {Name: PropertyIdentity, Value: make([]byte, 256)}}
	wantReason(t, "identity of 256 bytes", REP.checkPeer(long), ReasonMetadata)
}
