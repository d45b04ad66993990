package sniff

// http1Methods are the methods of RFC 9110 section 9, RFC 5789 (PATCH) and RFC 4918 (WebDAV), each with the space that
// ends it in a request line. Methods are case-sensitive (RFC 9110, section 9.1), so "get " is none. CONNECT is one: the
// server behind can answer it with a proper refusal. PRI is none: RFC 9113 section 11.6 reserves it for the preface of
// HTTP/2.
var http1Methods = [...]string{
	"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ",
	"PATCH ",
	"PROPFIND ", "PROPPATCH ", "MKCOL ", "COPY ", "MOVE ", "LOCK ", "UNLOCK ",
}

const http1MethodBytesMax = len("PROPPATCH ")

func probeHTTP1(prefix []byte) Verdict {
	v := Reject
	for _, method := range http1Methods {
		switch literal(prefix, method) {
		case Accept:
			return Accept
		case NeedMore:
			v = NeedMore
		}
	}
	return v
}
