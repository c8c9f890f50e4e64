package httproute_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// A body that comes slowly is not waited for: the server hears of a request as
// soon as it has begun, and gets each part of the body as it comes.
func TestSlowUpload(t *testing.T) {
	for _, size := range []int64{20, 64 << 10, 1 << 20, -1} { // -1 is unknown
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d http2=%v", size, http2), func(t *testing.T) {
				heard := make(chan string)
				w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
					heard <- r.Method
					part := make([]byte, 5)
					for range 2 {
						if _, err := io.ReadFull(r.Body, part); err != nil {
							t.Error(err)
						}
						heard <- string(part)
					}
					n, err := io.Copy(io.Discard, r.Body)
					fmt.Fprint(rw, n, err)
				}, nil)
				body, send := io.Pipe()
				r, err := http.NewRequest("POST", w.url+"/", body)
				if err != nil {
					t.Fatal(err)
				}
				r.ContentLength = size
				answered := make(chan string)
				go func() {
					defer close(answered)
					res, err := w.client(http2).Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					b, _ := io.ReadAll(res.Body)
					res.Body.Close()
					answered <- string(b)
				}()
				// Each step waits for the one before it.
				if got := <-heard; got != "POST" {
					t.Error(got)
				}
				for _, part := range []string{"hello", "world"} {
					io.WriteString(send, part)
					if got := <-heard; got != part {
						t.Errorf("%q, want %q", got, part)
					}
				}
				rest := max(size, 20) - 10
				io.CopyN(send, zeros{}, rest)
				send.Close()
				if got, want := <-answered, fmt.Sprint(rest, error(nil)); got != want {
					t.Errorf("%q, want %q", got, want)
				}
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// BenchmarkPost is a request with a short body over a kept connection.
func BenchmarkPost(b *testing.B) {
	w := newWorld(b, count, nil)
	c := w.client(false)
	for b.Loop() {
		w.write(c, 0)
	}
}
