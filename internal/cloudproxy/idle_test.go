package cloudproxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A drain ends connections that a program keeps for its next request: otherwise it
// would wait for them in vain.
func TestDrainEndsKept(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) {}, nil)
	c := tls.Client(w.connect("b.s3.eu-west-1.amazonaws.com:443", ""), &tls.Config{ServerName: "b.s3.eu-west-1.amazonaws.com", RootCAs: w.roots()})
	r := request(t, "GET", bucket+"/k", "")
	signing{at: time.Now()}.sign(t, r, "")
	if err := r.Write(c); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, r)
	if err != nil || res.StatusCode != http.StatusOK || res.Close {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
	w.Drain()
	c.SetReadDeadline(time.Now().Add(20 * time.Second)) // only where it does not end
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("a kept connection ends with %v", err)
	}
}

// Close ends what is passed through as well.
func TestCloseEndsPassed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w := newWorld(t, unused, func(w *world) { w.directTo = ln.Addr().String() })
	c := w.connect("example.com:443", "")
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	fmt.Fprint(c, "x")
	if _, err := far.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for name, end := range map[string]net.Conn{"client": c, "far side": far} {
		end.SetReadDeadline(time.Now().Add(20 * time.Second)) // only where it does not end
		if _, err := end.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || timeout(err) {
			t.Errorf("the %s sees %v, want a break", name, err)
		}
	}
}

func timeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
