package sockjs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Frames towards the browser (SockJS 0.3.3, "Framing accepted by the client").
const (
	openFrame      = "o"
	heartbeatFrame = "h"
	arrayOpen      = "a["
	arrayClose     = "]"
)

// closeFrame tells the browser the code and the reason of the end.
func closeFrame(code int, reason string) []byte {
	return append(appendString(fmt.Appendf(nil, "c[%d,", code), []byte(reason), false), ']')
}

// ErrPayload is what errors.Is finds when a browser sent something else than JSON strings.
var ErrPayload = errors.New("sockjs: broken JSON encoding")

// parsePayload reads an array of messages.
func parsePayload(payload []byte) ([]string, error) {
	var messages []string
	if err := json.Unmarshal(payload, &messages); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	return messages, nil
}

// parseWebSocketPayload reads an array of messages, or a single one.
func parseWebSocketPayload(payload []byte) ([]string, error) {
	if payload[0] != '"' {
		return parsePayload(payload)
	}
	var message string
	if err := json.Unmarshal(payload, &message); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	return []string{message}, nil
}

// appendString appends text, which is UTF-8, as a JSON string. Escaped are what JSON asks for and what browsers mangle on
// some transports (SockJS 0.3.3, "JSON Unicode Encoding"). In scripts, < > & and ' are too: what a program says must not
// be able to end the script element that carries it.
func appendString(dst, text []byte, script bool) []byte {
	dst = append(dst, '"')
	for len(text) > 0 {
		r, size := rune(text[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text)
		}
		switch {
		case !escaped(r, script):
			dst = append(dst, text[:size]...)
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = appendEscape(dst, r)
		}
		text = text[size:]
	}
	return append(dst, '"')
}

func escaped(r rune, script bool) bool {
	switch {
	case r < ' ', r == '"', r == '\\':
		return true
	case r == '<', r == '>', r == '&', r == '\'':
		return script
	}
	return r >= 0x200c && r <= 0x200f || r >= 0x2028 && r <= 0x202f || r >= 0x2060 && r <= 0x206f || r >= 0xfff0 && r <= 0xffff
}

// appendEscape appends a rune of the basic plane as \uXXXX.
func appendEscape(dst []byte, r rune) []byte {
	const width = 4
	dst = append(dst, '\\', 'u')
	start := len(dst)
	dst = strconv.AppendUint(dst, uint64(r), 16)
	for len(dst) < start+width {
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = '0'
	}
	return dst
}
