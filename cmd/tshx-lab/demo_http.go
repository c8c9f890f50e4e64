package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"

	"github.com/gorilla/websocket"

	"tshx/internal/lab"
)

// http asks a web application twice on one connection and speaks WebSocket to it,
// as browsers do.
func (d *demo) http(ctx context.Context) (string, error) {
	return d.listen(ctx, func(l listening) (string, error) {
		tr := &http.Transport{DialContext: dialer(l.Address)}
		defer tr.CloseIdleConnections()
		var first string
		for again := range 2 {
			kept := false
			trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { kept = c.Reused }}
			line, err := get(httptrace.WithClientTrace(ctx, trace), tr, "http://"+l.Address+"/")
			if err != nil {
				return "", err
			}
			if kept != (again == 1) {
				return "", fmt.Errorf("request %d: on a kept connection: %t", again+1, kept)
			}
			first = line
		}
		ws := websocket.Dialer{NetDialContext: dialer(l.Address)}
		c, _, err := ws.DialContext(ctx, "ws://"+l.Address+"/ws", nil)
		if err != nil {
			return "", fmt.Errorf("WebSocket: %w", err)
		}
		defer c.Close()
		const word = "over WebSocket"
		if err := c.WriteMessage(websocket.TextMessage, []byte(word)); err != nil {
			return "", err
		}
		_, got, err := c.ReadMessage()
		if err == nil && string(got) != word {
			err = fmt.Errorf("%q came back", got)
		}
		if err != nil {
			return "", fmt.Errorf("WebSocket: %w", err)
		}
		return fmt.Sprintf("tshx proxy app hello: at http://%s, %q twice on one connection, and WebSocket", l.Address, first), nil
	}, "proxy", "app", "hello", "--port", "0")
}

func dialer(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// get returns the first line of a page, which it reads to the end.
func get(ctx context.Context, tr http.RoundTripper, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	line, _, _ := strings.Cut(string(b), "\n")
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, line)
	}
	return line, err
}

// hiddenApp is served by an agent: the proxy does not know where it is.
const hiddenApp = "hidden"

// agent has an agent dial out to the proxy, and reaches through it what the proxy
// could not.
func (d *demo) agent(ctx context.Context) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	go greet(ln)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		ended <- lab.RunAgent(ctx, lab.AgentOptions{
			Config:   lab.AgentConfig{Apps: []lab.App{{Name: hiddenApp, URI: "tcp://" + ln.Addr().String()}}},
			Identity: &lab.AgentIdentity{Dir: d.agentDir(), Proxy: d.addr, Log: d.log},
			Up:       func(string) { up <- struct{}{} },
			Log:      d.log,
		})
	}()
	select {
	case <-up:
	case err := <-ended:
		return "", fmt.Errorf("the agent ended: %w", cmp.Or(err, ctx.Err()))
	}
	text, err := d.listen(ctx, func(l listening) (string, error) {
		c, done, err := dial(ctx, l.Address)
		if err != nil {
			return "", err
		}
		defer done()
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("tshx-lab agent, tshx proxy app %s: %q, by a tunnel that the agent made", hiddenApp, strings.TrimSpace(line)), nil
	}, "proxy", "app", hiddenApp, "--protocol", "tcp", "--port", "0")
	cancel()
	if agentErr := <-ended; err == nil {
		err = agentErr
	}
	return text, err
}

// greet says something to each connection until ln is closed.
func greet(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, "hello from where the proxy cannot reach\n")
		c.Close()
	}
}
