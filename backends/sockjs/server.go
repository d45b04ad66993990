package sockjs

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server is one prefix: an http.Handler towards browsers, and between them and the programs the sessions. Make one with
// New, give what programs send to Deliver, end it with Shutdown.
type Server struct {
	options   Options
	origins   origins
	iframe    []byte
	iframeTag string
	files     *Files
	meters    meters

	mu       sync.RWMutex
	live     map[*session]struct{} // all that hold a place
	byID     map[string]*session   // those that programs can reach
	byName   map[string]*session   // those that browsers can come back to
	stopping bool

	lifetime context.Context // of what waits for programs
	end      context.CancelFunc
}

// Why a session is refused.
var (
	ErrNoPeer      = errors.New("sockjs: no program is connected")
	ErrTooMany     = errors.New("sockjs: too many sessions")
	ErrStopping    = errors.New("sockjs: stopping")
	errUnknownName = errors.New("sockjs: unknown session")
)

// New makes a server.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		options: o,
		origins: o.Origins,
		iframe:  iframePage(o.Prefix + "/" + string(scriptPath)),
		meters:  newMeters(o.Block, o.Metrics, o.Log),
		live:    map[*session]struct{}{},
		byID:    map[string]*session{},
		byName:  map[string]*session{},
	}
	s.iframeTag = tagOf(s.iframe)
	s.files = NewFiles(o.Prefix, o.Static)
	s.files.wait = o.WriteTimeout
	s.lifetime, s.end = context.WithCancel(context.Background())
	return s, nil
}

// ServeHTTP answers everything at and below the prefix.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	below, found := strings.CutPrefix(r.URL.Path, s.options.Prefix)
	if !found || below != "" && below[0] != '/' {
		notFound(w, r)
		return
	}
	s.answerSoon(w)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	e, name, found := locate(below)
	if !found {
		if !s.files.serve(w, r, below) {
			notFound(w, r)
		}
		return
	}
	if !s.origins.admits(r, e) {
		s.refused("origin")
		w.Header().Set("Content-Type", textPlain)
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte("Pages of this origin may not connect here.\n"))
		return
	}
	s.serve(w, r, e, name, below)
}

// answerSoon gives the browser WriteTimeout, from now on, to take what is written. What has waited calls it again.
func (s *Server) answerSoon(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.options.WriteTimeout)) // a server of a test may have none
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, e endpoint, name, below string) {
	switch e {
	case greetingPath:
		s.greet(w, r, below)
	case infoPath:
		s.info(w, r)
	case iframePath:
		s.constant(w, r, textHTML, s.iframeTag, s.iframe)
	case scriptPath:
		s.constant(w, r, javaScript, clientScriptTag, clientScript)
	case webSocketPath, rawWebSocketPath:
		s.webSocket(w, r, e)
	case xhrSendPath, jsonpSendPath:
		s.collect(w, r, e, name)
	default:
		s.feed(w, r, e, name)
	}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	refuse(w, r, http.StatusNotFound, "There is nothing here.")
}

// refuseSession tells a browser why it gets no session. Retry-After keeps well-behaved clients from hammering.
func refuseSession(w http.ResponseWriter, r *http.Request, err error) {
	text := "No new sessions: the server is stopping."
	switch {
	case errors.Is(err, ErrNoPeer):
		text = "No new sessions: no program is connected."
	case errors.Is(err, ErrTooMany):
		text = "No new sessions: all places are taken."
	}
	w.Header().Set("Retry-After", "1")
	refuse(w, r, http.StatusServiceUnavailable, text)
}

// open makes a session for a browser that comes with this request. Its turn is taken: the caller says connect.
func (s *Server) open(r *http.Request, e endpoint, name string) (*session, error) {
	connect, err := s.introduction(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openLocked(e, name, connect)
}

func (s *Server) openLocked(e endpoint, name string, connect []byte) (*session, error) {
	switch {
	case s.stopping:
		s.refused("stopping")
		return nil, ErrStopping
	case len(s.live) >= s.options.SessionsMax:
		s.refused("sessions")
		return nil, ErrTooMany
	case s.options.RefuseWithoutPeer && s.options.Peers() == 0:
		s.refused("no_peer")
		return nil, ErrNoPeer
	}
	c := newSession(s, e, name, connect)
	s.live[c] = struct{}{}
	s.byID[c.id] = c
	if name != "" {
		s.byName[name] = c
	}
	s.meters.opened(e)
	return c, nil
}

// find returns the session of that name, or a new one for a browser that comes with this request.
func (s *Server) find(r *http.Request, e endpoint, name string) (*session, error) {
	if c := s.named(name); c != nil {
		return c, nil
	}
	connect, err := s.introduction(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.byName[name]; c != nil { // two requests came at once
		return c, nil
	}
	c, err := s.openLocked(e, name, connect)
	if err == nil {
		go c.welcome()
	}
	return c, err
}

func (s *Server) named(name string) *session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byName[name]
}

// unreachable takes a session that has ended from the programs.
func (s *Server) unreachable(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, c.id)
}

// forget takes a session from the browsers, and its place back.
func (s *Server) forget(c *session) {
	s.mu.Lock()
	delete(s.live, c)
	if s.byName[c.name] == c {
		delete(s.byName, c.name)
	}
	s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loseWaiting()
}

// Status is what a server does now.
type Status struct {
	Prefix   string         `json:"prefix"`
	Programs int            `json:"programs"`
	Sessions map[string]int `json:"sessions"` // by transport
}

// Status tells what the server does now.
func (s *Server) Status() Status {
	status := Status{Prefix: cmp.Or(s.options.Prefix, "/"), Programs: s.options.Peers(), Sessions: map[string]int{}}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.byID {
		status.Sessions[string(c.transport)]++
	}
	return status
}

// Shutdown ends all sessions and opens no new ones. It waits until programs have taken every disconnect, until ctx is
// done, and returns how many of them were not taken.
func (s *Server) Shutdown(ctx context.Context) (untold int) {
	s.mu.Lock()
	s.stopping = true
	ending := make([]*session, 0, len(s.live))
	for c := range s.live {
		ending = append(ending, c)
	}
	s.mu.Unlock()
	for _, c := range ending {
		c.finish(endStopping)
	}
	for _, c := range ending {
		select {
		case <-c.told:
		case <-ctx.Done():
		}
	}
	s.end()
	for _, c := range ending {
		<-c.told
		if !c.parted {
			untold++
		}
	}
	return untold
}
