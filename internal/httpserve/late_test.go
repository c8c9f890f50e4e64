package httpserve_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"

	"tshx/internal/httpserve"
)

// A connection that was accepted before a drain, and comes to be served only behind
// its beginning, is not waited for: it has said nothing yet.
func TestLateConnection(t *testing.T) {
	s := httpserve.New(httpserve.Options{Handler: http.NotFoundHandler()})
	defer s.Close()
	s.Drain()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	_, err := s.Serve(t.Context(), b, func(context.Context) (net.Conn, error) {
		t.Error("it is read")
		return nil, net.ErrClosed
	})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}
