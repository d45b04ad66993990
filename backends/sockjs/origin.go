package sockjs

import (
	"net/http"
	"net/url"
	"strings"
)

const anyOrigin = "*"

// OriginProblem tells what is wrong with a word of Options.Origins, or returns "".
func OriginProblem(origin string) string {
	if origin == anyOrigin {
		return ""
	}
	u, err := url.Parse(strings.Replace(origin, "://*.", "://", 1))
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" || strings.Contains(u.Host, "*"):
		return "is no origin, such as \"https://app.example\", \"https://*.example\" or \"*\""
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "is more than an origin: it ends after the host and the port"
	}
	return ""
}

// origins decides which pages may use a server. The empty set stands for all.
type origins []string

// unrestricted says that every page may.
func (o origins) unrestricted() bool {
	for _, allowed := range o {
		if allowed == anyOrigin {
			return true
		}
	}
	return len(o) == 0
}

// allows says whether a page of this origin (RFC 6454, section 6.1) may use the server that host names.
func (o origins) allows(origin, host string) bool {
	if o.unrestricted() {
		return true
	}
	if _, own, found := strings.Cut(origin, "://"); found && strings.EqualFold(own, host) {
		return true
	}
	for _, allowed := range o {
		if strings.EqualFold(allowed, origin) {
			return true
		}
		scheme, suffix, wild := strings.Cut(allowed, "*")
		if wild && len(origin) > len(scheme)+len(suffix) && strings.EqualFold(origin[:len(scheme)], scheme) &&
			strings.EqualFold(origin[len(origin)-len(suffix):], suffix) {
			return true
		}
	}
	return false
}

// admits says whether a request may go on. Programs send no Origin and are let in; so would be the scripts and frames of
// pages, whose GET requests have none either: with restricted origins those must name the page that they come from.
func (o origins) admits(r *http.Request, e endpoint) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		return o.allows(origin, r.Host)
	}
	switch e {
	case jsonpPath, htmlFilePath, eventSourcePath, jsonpSendPath:
	default:
		return true
	}
	if o.unrestricted() {
		return true
	}
	page, err := url.Parse(r.Referer())
	return err == nil && o.allows(page.Scheme+"://"+page.Host, r.Host)
}

// frameAncestors is the policy that lets only the pages of these origins frame the iframe page.
func (o origins) frameAncestors() string {
	if o.unrestricted() {
		return ""
	}
	return "frame-ancestors 'self' " + strings.Join(o, " ")
}
