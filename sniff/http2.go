package sniff

// http2Preface opens every HTTP/2 connection of a client (RFC 9113, section 3.4). The frames that follow are not looked
// at: some gRPC clients send nothing more until they have seen the server's SETTINGS.
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func probeHTTP2(prefix []byte) Verdict {
	return literal(prefix, http2Preface)
}
