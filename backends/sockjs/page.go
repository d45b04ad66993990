package sockjs

import (
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // of sockjs-client
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"strings"
)

// clientScript is sockjs-client 1.6.1 as npm has it, under the MIT licence beside it.
//
//go:embed client/sockjs.min.js
var clientScript []byte

var clientScriptTag = tagOf(clientScript)

// tagOf is a content's entity tag.
func tagOf(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// iframePage is the page that transports load into a hidden frame when they must not leave their origin.
func iframePage(script string) []byte {
	return []byte(`<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="` + html.EscapeString(script) + `"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>
`)
}

// greet answers at the prefix itself, with the static index below it if there is one.
func (s *Server) greet(w http.ResponseWriter, r *http.Request, below string) {
	if !permitsReading(w, r) {
		return
	}
	if below == "/" && s.files.serve(w, r, below) {
		return
	}
	w.Header().Set("Content-Type", textPlain)
	io.WriteString(w, "Welcome to SockJS!\n")
}

// info tells the client what the server can do, and how far away it is.
func (s *Server) info(w http.ResponseWriter, r *http.Request) {
	if !permitsReading(w, r) {
		return
	}
	if s.options.RefuseWithoutPeer && s.options.Peers() == 0 {
		s.refused("no_peer")
		refuseSession(w, r, ErrNoPeer)
		return
	}
	var entropy [4]byte
	rand.Read(entropy[:])
	answer, err := json.Marshal(map[string]any{
		"websocket":     !s.options.NoWebSocket,
		"cookie_needed": s.options.Cookie,
		"origins":       []string{"*:*"},
		"entropy":       binary.BigEndian.Uint32(entropy[:]),
	})
	if err != nil {
		panic(err) // strings, booleans and a number
	}
	allowOrigin(w, r)
	w.Header().Set("Cache-Control", neverCached)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.Write(answer)
}

// constant answers with what never changes while the gateway runs.
func (s *Server) constant(w http.ResponseWriter, r *http.Request, contentType, tag string, content []byte) {
	if !permitsReading(w, r) {
		return
	}
	cacheYear(w.Header())
	w.Header().Set("ETag", tag)
	if policy := s.origins.frameAncestors(); policy != "" && contentType == textHTML {
		w.Header().Set("Content-Security-Policy", policy)
	}
	if strings.Contains(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Write(content)
}
