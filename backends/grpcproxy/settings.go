package grpcproxy

import (
	"golang.org/x/net/http2"
)

// receiveSettings holds RFC 9113 section 6.5: checks all, then applies all, then acknowledges.
func (c *conn) receiveSettings(h frameHeader, p []byte) error {
	if h.stream != 0 {
		return connError{http2.ErrCodeProtocol, "SETTINGS on a stream"}
	}
	if h.has(http2.FlagSettingsAck) {
		if len(p) != 0 {
			return connError{http2.ErrCodeFrameSize, "SETTINGS acknowledgement with a payload"}
		}
		return c.nuisance()
	}
	if err := c.nuisance(); err != nil {
		return err
	}
	if len(p)%settingBytes != 0 {
		return connError{http2.ErrCodeFrameSize, "SETTINGS with part of a setting"}
	}
	for rest := p; len(rest) > 0; rest = rest[settingBytes:] {
		if err := checkSetting(parseSetting(rest)); err != nil {
			return err
		}
	}
	first := !c.settle
	c.settle = true
	streams, delta := c.applySettings(p)
	for _, s := range streams {
		s.call.mu.Lock()
		err := s.widen(delta, c.batch)
		s.call.mu.Unlock()
		if err != nil {
			return connError{http2.ErrCodeFlowControl, "a window is larger than 2^31-1"} // section 6.9.2
		}
	}
	if first {
		c.greeted.Store(true)
		c.role.settled()
	}
	return c.answered()
}

// checkSetting holds section 6.5.2.
func checkSetting(s http2.Setting) error {
	switch s.ID {
	case http2.SettingEnablePush:
		if s.Val > 1 {
			return connError{http2.ErrCodeProtocol, "SETTINGS_ENABLE_PUSH is neither 0 nor 1"}
		}
	case http2.SettingInitialWindowSize:
		if s.Val > windowMax {
			return connError{http2.ErrCodeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE is larger than 2^31-1"}
		}
	case http2.SettingMaxFrameSize:
		if s.Val < frameBytesMax || s.Val > 1<<24-1 {
			return connError{http2.ErrCodeProtocol, "SETTINGS_MAX_FRAME_SIZE is out of range"}
		}
	}
	return nil
}

// applySettings returns the open streams, whose windows change by delta; none when it is 0 (section 6.9.2).
func (c *conn) applySettings(p []byte) (streams []*half, delta int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; len(p) > 0; p = p[settingBytes:] {
		switch s := parseSetting(p); s.ID {
		case http2.SettingHeaderTableSize:
			c.encoder.SetMaxDynamicTableSize(min(s.Val, headerTableBytes))
		case http2.SettingMaxConcurrentStreams:
			c.openMax.Store(int64(s.Val))
		case http2.SettingInitialWindowSize:
			delta += int64(s.Val) - c.initialWindow
			c.initialWindow = int64(s.Val)
		}
	}
	if delta != 0 {
		for _, s := range c.streams {
			streams = append(streams, s)
		}
	}
	if !c.dead {
		buf := c.out.buffer()
		buf.bytes = appendSettingsAck(buf.bytes)
	}
	return streams, delta
}
