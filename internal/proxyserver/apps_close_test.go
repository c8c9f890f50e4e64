package proxyserver

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// goodbye is a connection that says so before it closes, as those of TLS do, and to
// a server which then ends its answer.
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

// An answer that the end of the proxy cuts is not complete because the app takes the
// end of the connection for that of its answer.
func TestCloseIsNoEnd(t *testing.T) {
	f := start(t, Options{Apps: []App{{Name: "app", URI: "http://127.0.0.1:1"}}})
	f.apps["app"].reads.DialContext = func(context.Context, string, string) (net.Conn, error) {
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
	resp, err := f.client(newUser(t).tls(appRoute("app")), "http/1.1").Get("https://" + f.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	f.cancel() // the first that Close does
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("half and %q look complete", b)
	}
}
