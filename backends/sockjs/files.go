package sockjs

import (
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// Files serves the files of a folder below a path. It lists no folders and shows nothing whose name begins with a dot.
type Files struct {
	prefix string // without a slash at its end
	folder fs.FS  // nil = no files
	server http.Handler
}

// NewFiles serves a folder at and below a path such as "/static".
func NewFiles(prefix string, folder fs.FS) *Files {
	f := &Files{prefix: strings.TrimSuffix(prefix, "/"), folder: folder}
	if folder != nil {
		f.server = http.StripPrefix(f.prefix, http.FileServerFS(folder))
	}
	return f
}

// ServeHTTP answers at and below the prefix.
func (f *Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	below, found := strings.CutPrefix(r.URL.Path, f.prefix)
	switch {
	case found && below == "":
		http.Redirect(w, r, f.prefix+"/", http.StatusMovedPermanently) // relative links of the index lead below
	case !found || below[0] != '/' || !f.serve(w, r, below):
		notFound(w, r)
	}
}

// serve answers a request for what lies below the prefix, or reports false: there is no such file.
func (f *Files) serve(w http.ResponseWriter, r *http.Request, below string) bool {
	if f.folder == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	name := strings.TrimPrefix(path.Clean(below), "/")
	if name == "" {
		name = "."
	} else if strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
		return false
	}
	info, err := fs.Stat(f.folder, name)
	if err != nil {
		return false
	}
	if info.IsDir() {
		if _, err := fs.Stat(f.folder, path.Join(name, "index.html")); err != nil {
			return false
		}
	}
	f.server.ServeHTTP(w, r)
	return true
}
