// Command plain is the gateway that one would write in an afternoon: soheilhy/cmux splits the port, io.Copy moves the
// bytes both ways over the connections that cmux hands out. The benchmark compares the gateway with it.
//
//	plain LISTEN TARGET
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/soheilhy/cmux"
)

// zmtpSignature opens every ZMTP 3 connection: https://rfc.zeromq.org/spec/23/, "signature".
var zmtpSignature = []byte{0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: plain LISTEN TARGET")
		os.Exit(2)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	mux := cmux.New(listener)
	go serve(mux.Match(isZMTP), os.Args[2])
	log.Fatal(mux.Serve())
}

func isZMTP(r io.Reader) bool {
	var got [10]byte
	_, err := io.ReadFull(r, got[:])
	return err == nil && bytes.Equal(got[:], zmtpSignature)
}

func serve(listener net.Listener, target string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go relay(client, target)
	}
}

func relay(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		log.Print(err)
		return
	}
	defer server.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pass(server, client)
	}()
	pass(client, server)
	<-ended
}

// pass copies one direction and then passes its end on, which cmux's wrapper hides.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from) // an error ends the direction as an end does
	if wrapped, ok := to.(*cmux.MuxConn); ok {
		to = wrapped.Conn
	}
	_ = to.(*net.TCPConn).CloseWrite()
}
