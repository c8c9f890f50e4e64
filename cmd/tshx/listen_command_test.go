package main

import (
	"context"
	"errors"
	"net"
	"testing"

	"tshx/internal/localproxy"
)

// untilDone is a handler whose connections last as long as they may.
type untilDone struct{}

func (untilDone) ServeConn(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	c.Read(make([]byte, 1))
}

// When the command has ended that is told before the connections that it has
// left behind are waited for.
func TestCommandEndedIsToldBeforeTheDrain(t *testing.T) {
	env, _ := testEnv()
	ln, err := localproxy.Listen("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	admitted := make(chan struct{})
	server := &localproxy.Server{Handler: untilDone{}, Cut: func(int) { t.Error("told after the drain") }}
	server.Admit = func(net.Conn) error { close(admitted); return nil }
	err = serveCommand(t.Context(), env, server, ln, clientCommand{args: []string{"true"}}, func() {
		<-admitted
		c.Close() // which ends the drain
	})
	var code childExit
	if !errors.As(err, &code) || code != exitOK {
		t.Errorf("serveCommand = %v", err)
	}
}
