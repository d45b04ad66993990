package admin

import (
	"embed"
	"net/http"
)

// The page that people look at. It is made of files that are loaded from here alone, and asks /status itself: it may be loaded
// without the token, which its reader gives it.
//
//go:embed page
var pageFiles embed.FS

// pageNames are its files, by path.
var pageNames = map[string]string{
	"/{$}":         "index.html",
	"/page.css":    "page.css",
	"/icon.svg":    "icon.svg",
	"/page.js":     "page.js",
	"/cards.js":    "cards.js",
	"/elements.js": "elements.js",
	"/picture.js":  "picture.js",
	"/ways.js":     "ways.js",
}

// pagePolicy lets the page load its own files and ask this address, and nothing else: no other host, no script or style in
// the document, no form that is sent, no frame around it.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// servePage adds the page's routes.
func servePage(mux *http.ServeMux) {
	for path, name := range pageNames {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Security-Policy", pagePolicy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
			h.Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, pageFiles, "page/"+name)
		})
	}
}
