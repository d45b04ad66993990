package sockjs

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"
	"time"
)

// deadlines is a response that notes how much was written under each deadline, in bytes.
type deadlines struct {
	*httptest.ResponseRecorder
	written []int
}

func (d *deadlines) SetWriteDeadline(time.Time) error {
	d.written = append(d.written, 0)
	return nil
}

func (d *deadlines) Write(p []byte) (int, error) {
	d.written[len(d.written)-1] += len(p)
	return d.ResponseRecorder.Write(p)
}

func TestLargeFileHasAsMuchTimeAsItNeeds(t *testing.T) {
	const size, chunkMax = 1 << 20, 64 << 10
	files := NewFiles("/static", fstest.MapFS{"film": {Data: make([]byte, size)}})
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	files.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/static/film", nil))
	if w.Code != http.StatusOK || w.Body.Len() != size {
		t.Fatalf("status %d, %d bytes", w.Code, w.Body.Len())
	}
	for _, n := range w.written {
		if n > chunkMax {
			t.Fatalf("%d bytes under one deadline: who reads slowly gets a part of a file", n)
		}
	}
}
