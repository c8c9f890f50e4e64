package httproute_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"tshx/internal/httproute"
	"tshx/internal/tlsroute"
)

// polite is a dialer whose connections say goodbye before they close, as those of
// TLS do, and to a server which then ends its answer before it hangs up, too.
type polite struct{}

func (polite) Dial(context.Context, tlsroute.Route) (net.Conn, error) {
	near, far := net.Pipe()
	c := &goodbye{near, make(chan bool), make(chan bool)}
	go func() {
		defer far.Close()
		defer close(c.answered)
		if _, err := http.ReadRequest(bufio.NewReader(far)); err != nil {
			return
		}
		io.WriteString(far, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
		<-c.said
		io.WriteString(far, "0\r\n\r\n")
	}()
	return c, nil
}

type goodbye struct {
	net.Conn
	said, answered chan bool
}

func (c *goodbye) Close() error {
	select {
	case <-c.said:
	default:
		close(c.said)
		<-c.answered
	}
	return c.Conn.Close()
}

// An answer that is cut by the end of an Upstream is not complete because the other
// side takes the end of the connection for that of its answer.
func TestCloseIsNoEnd(t *testing.T) {
	up := httproute.New(httproute.Options{Dialer: polite{}})
	s := httptest.NewServer(up.Reverse(httproute.ReverseOptions{}))
	defer s.Close()
	res, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	up.Close()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("half and %q look complete", b)
	}
}
