package dial

import (
	"fmt"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// introduce tells a target, if it wants to know, whose connection this is: a PROXY header of version 2 (HAProxy,
// proxy-protocol.txt, section 2.2) with the client's address, and the one that it connected to. Where an address has no
// place there, a unix socket's for one, the header says that it tells nothing.
func (b *Backend) introduce(client, target net.Conn) error {
	if !b.options.ProxyHeader {
		return nil
	}
	const version = 2
	header, err := proxyproto.HeaderProxyFromAddrs(version, client.RemoteAddr(), client.LocalAddr()).Format()
	if err != nil {
		return fmt.Errorf("dial: write a PROXY header for %s: %w", client.RemoteAddr(), err)
	}
	// It fits the empty buffer of a new connection. The deadline is for a target that is not as the kernel promises.
	if err = target.SetWriteDeadline(time.Now().Add(b.options.ConnectTimeout)); err == nil {
		_, err = target.Write(header)
	}
	if err == nil {
		err = target.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return fmt.Errorf("dial: tell the target the client's address: %w", err)
	}
	return nil
}
