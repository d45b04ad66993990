package sockjs

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// collect answers a request that sends.
func (s *Server) collect(w http.ResponseWriter, r *http.Request, e endpoint, name string) {
	if !permits(w, r, http.MethodPost) {
		return
	}
	payload, err := body(w, r, s.options.payloadBytesMax())
	if err != nil {
		refuseBody(w, r, err)
		return
	}
	c := s.named(name)
	if c == nil {
		refuseCollecting(w, r, errUnknownName)
		return
	}
	if e == jsonpSendPath {
		payload = formPayload(r, payload)
	}
	err = c.collectPayload(r.Context(), payload)
	s.answerSoon(w) // programs may have let it wait
	if err != nil {
		refuseCollecting(w, r, err)
		return
	}
	allowOrigin(w, r)
	if s.options.Cookie {
		setCookie(w, r)
	}
	w.Header().Set("Content-Type", textPlain)
	w.Header().Set("Cache-Control", neverCached)
	if e == jsonpSendPath { // Konqueror cannot do without content
		io.WriteString(w, "ok")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// formPayload is the field of a form that carries the payload, or the body itself if it is no form.
func formPayload(r *http.Request, payload []byte) []byte {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return payload
	}
	form, err := url.ParseQuery(string(payload))
	if err != nil {
		return nil
	}
	return []byte(form.Get("d"))
}

var (
	errNoPayload = errors.New("sockjs: payload expected")
	errTooBig    = errors.New("sockjs: message too big")
)

// collectPayload forwards what a browser sent.
func (c *session) collectPayload(ctx context.Context, payload []byte) error {
	if len(payload) == 0 {
		return errNoPayload
	}
	texts, err := parsePayload(payload)
	if err != nil {
		c.server.meters.drop(dropBrokenJSON)
		return err
	}
	messages, err := c.fitting(texts)
	if err != nil {
		return err
	}
	return c.forwardRequest(ctx, messages)
}

// fitting are texts as messages, if none is too big; otherwise the session ends.
func (c *session) fitting(texts []string) ([][]byte, error) {
	messages := make([][]byte, len(texts))
	for i, text := range texts {
		if len(text) > c.server.options.MessageBytesMax {
			c.server.meters.drop(dropTooBig)
			c.finish(endTooBig)
			return nil, errTooBig
		}
		messages[i] = []byte(text)
	}
	return messages, nil
}

// refuseCollecting tells a browser why nothing was taken. That broken payloads are answered with 500 is the protocol's word.
func refuseCollecting(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errUnknownName), errors.Is(err, errEnded):
		refuse(w, r, http.StatusNotFound, "There is no such session.")
	case errors.Is(err, errNoPayload):
		refuse(w, r, http.StatusInternalServerError, "Payload expected.")
	case errors.Is(err, ErrPayload):
		refuse(w, r, http.StatusInternalServerError, "Broken JSON encoding.")
	case errors.Is(err, errTooBig):
		refuse(w, r, http.StatusRequestEntityTooLarge, "A message is too big.")
	case errors.Is(err, errManySenders):
		refuse(w, r, http.StatusServiceUnavailable, "Too many requests of this session send at once.")
	default:
		refuse(w, r, http.StatusServiceUnavailable, "The programs cannot be reached.")
	}
}
