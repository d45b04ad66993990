package sockjs

import (
	"unicode/utf8"

	"gateway/internal/zmtp"
)

// parts of a message, either way.
const (
	partType = iota
	partSession
	partData
	parts
)

// Deliver takes a message of a program: message, disconnect or broadcast. Anything else is counted, logged at a limited
// rate and dropped. It never waits, keeps nothing of the message, and may be called from any goroutine.
func (s *Server) Deliver(m *zmtp.Message) {
	if m.Len() != parts {
		s.meters.drop(dropNotThreeParts)
		return
	}
	switch string(m.Part(partType)) {
	case typeMessage:
		if c := s.known(m); c != nil {
			s.post(c, m.Part(partData))
		}
	case typeDisconnect:
		if c := s.known(m); c != nil {
			c.finish(endProgram)
		}
	case typeBroadcast:
		s.broadcast(m.Part(partData))
	default:
		s.meters.drop(dropUnknownType)
	}
}

// known is the session that a message names; nil was counted.
func (s *Server) known(m *zmtp.Message) *session {
	s.mu.RLock()
	c := s.byID[string(m.Part(partSession))]
	s.mu.RUnlock()
	if c == nil {
		s.meters.drop(dropNoSession)
	}
	return c
}

func (s *Server) post(c *session, data []byte) {
	switch {
	case c.transport != rawWebSocketPath && !utf8.Valid(data):
		s.meters.drop(dropNotUTF8)
	case len(data) > s.options.SendBufferBytesMax:
		s.meters.drop(dropTooBig) // it fits nowhere, which is not the browser's fault
	case !c.post(data):
		s.meters.drop(dropNoSession)
	}
}

// broadcast posts to all sessions that there are now.
func (s *Server) broadcast(data []byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.byID {
		s.post(c, data)
	}
}
