//go:build unix

package freeport

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestKeptPortRefusesUntilSomebodyListensOnIt(t *testing.T) {
	addr := Keep(t)
	for range 2 { // the second time it was listened on before
		if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("%v %v, want connection refused", c, err)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		l.Close()
	}
}

func TestKeptPortIsNobodyElses(t *testing.T) {
	addr := Keep(t)
	from, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", Keep(t)) // an ordinary socket that asks for it
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v %v, want address in use", c, err)
	}
}
