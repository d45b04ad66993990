package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshServer is a real SSH server that lets everybody in and answers global requests.
func sshServer(t *testing.T) (addr string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	return serveEach(t, "127.0.0.1", func(c net.Conn) {
		conn, channels, requests, err := ssh.NewServerConn(c, config)
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				r.Reply(true, r.Payload)
			}
		}()
		for ch := range channels {
			ch.Reject(ssh.Prohibited, "this server only answers requests")
		}
		conn.Wait()
	})
}

// sshRoundTrip logs in through addr and has a request answered.
func sshRoundTrip(addr string) error {
	client, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User:            "test",
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		Timeout:         10 * time.Second,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	ok, reply, err := client.SendRequest("echo@test", true, []byte("hello"))
	if err != nil {
		return err
	}
	if !ok || string(reply) != "hello" {
		return fmt.Errorf("the request was answered %v %q", ok, reply)
	}
	return nil
}
