package sockjs

import (
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// Files serves the files of a folder below a path. It lists no folders and shows nothing whose name begins with a dot.
type Files struct {
	prefix string // without a slash at its end
	folder fs.FS  // nil = no files
	server http.Handler
	wait   time.Duration // that one write to a browser may take
}

// NewFiles serves a folder at and below a path such as "/static".
func NewFiles(prefix string, folder fs.FS) *Files {
	f := &Files{prefix: strings.TrimSuffix(prefix, "/"), folder: folder, wait: DefaultWriteTimeout}
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
	f.server.ServeHTTP(&patientWriter{w, http.NewResponseController(w), f.wait}, r)
	return true
}

// patientWriter bounds each write, and not all of them together: how long a file may take depends on its size.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	wait    time.Duration
}

func (w *patientWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.wait)) // a server of a test may have none
	return w.ResponseWriter.Write(p)
}
