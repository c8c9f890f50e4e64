package httproute_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// What is said of a stream arrives at once, also where its length is known.
func TestStreamOfKnownLength(t *testing.T) {
	next := make(chan bool)
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "10")
		io.WriteString(rw, "hello")
		http.NewResponseController(rw).Flush()
		<-next
		io.WriteString(rw, "world")
	}, nil)
	for _, http2 := range []bool{false, true} {
		res, err := w.client(http2).Get(w.url)
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, part); err != nil || string(part) != "hello" {
			t.Fatalf("%q, %v", part, err)
		}
		next <- true // only once the first is here
		if rest := readAll(t, res.Body); rest != "world" {
			t.Errorf("%q", rest)
		}
	}
}

// A body of which a part was read ahead is not sent again without that part:
// net/http looks whether there is one where a method has none as a rule.
func TestProbedBody(t *testing.T) {
	var requests atomic.Int64
	end := make(chan bool)
	l := &latch{ended: make(chan bool), opened: make(chan bool)}
	bodies := make(chan string, 10)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			keep(t, rw, r, end)
			return
		}
		b, err := io.ReadAll(r.Body)
		if err == nil {
			bodies <- string(b)
		}
	}, func(w *world) { l.RouteDialer, w.options.Dialer = w.options.Dialer, l })
	client := w.client(true)
	w.write(client, 0)
	close(end)
	<-l.ended
	defer l.open.Do(func() { close(l.opened) })
	r, _ := http.NewRequest("DELETE", w.url, io.MultiReader(strings.NewReader("a whole body")))
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, res.Body)
	if res.StatusCode == 200 && len(bodies) == 0 || len(bodies) > 1 {
		t.Errorf("%s, and %d requests got through", res.Status, len(bodies))
	}
	for len(bodies) > 0 {
		if b := <-bodies; b != "a whole body" {
			t.Errorf("%q arrived", b)
		}
	}
}
