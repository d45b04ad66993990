package sockjs

import (
	"regexp"
	"strings"
)

// endpoint is what a path below the prefix stands for.
type endpoint string

// The endpoints. Those of sessions have the names that the protocol gives them in paths.
const (
	greetingPath     endpoint = "greeting"
	infoPath         endpoint = "info"
	iframePath       endpoint = "iframe"
	scriptPath       endpoint = "sockjs.min.js"
	rawWebSocketPath endpoint = "raw-websocket"
	webSocketPath    endpoint = "websocket"
	xhrPath          endpoint = "xhr"
	xhrStreamingPath endpoint = "xhr_streaming"
	xhrSendPath      endpoint = "xhr_send"
	eventSourcePath  endpoint = "eventsource"
	htmlFilePath     endpoint = "htmlfile"
	jsonpPath        endpoint = "jsonp"
	jsonpSendPath    endpoint = "jsonp_send"
)

// sessionNameBytesMax bounds the name that a browser makes up for its session; sockjs-client's have eight.
const sessionNameBytesMax = 256

var iframeName = regexp.MustCompile(`^iframe[0-9a-z_.-]*\.html$`)

// locate finds out what a path below the prefix ("", "/", "/info", "/000/abc/xhr") stands for, and the session that it
// names. It reports false for what the protocol does not know.
func locate(path string) (e endpoint, session string, ok bool) {
	if path == "" || path == "/" {
		return greetingPath, "", true
	}
	parts := strings.Split(path[1:], "/")
	switch {
	case len(parts) == 3:
		return locateSession(parts)
	case len(parts) > 1:
		return "", "", false
	case parts[0] == "websocket":
		return rawWebSocketPath, "", true
	case parts[0] == string(infoPath), parts[0] == string(scriptPath):
		return endpoint(parts[0]), "", true
	case iframeName.MatchString(parts[0]):
		return iframePath, "", true
	}
	return "", "", false
}

// locateSession reads /server/session/transport. The server part is for load balancers alone.
func locateSession(parts []string) (e endpoint, session string, ok bool) {
	for _, name := range parts[:2] {
		if name == "" || strings.Contains(name, ".") || len(name) > sessionNameBytesMax {
			return "", "", false
		}
	}
	switch e = endpoint(parts[2]); e {
	case webSocketPath, xhrPath, xhrStreamingPath, xhrSendPath, eventSourcePath, htmlFilePath, jsonpPath, jsonpSendPath:
		return e, parts[1], true
	}
	return "", "", false
}
