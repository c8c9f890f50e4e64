package proxyserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"tshx/internal/conn"
)

// upgradeOf returns the protocol that a message changes to; "" if to none.
func upgradeOf(h http.Header) string {
	for _, token := range connectionTokens(h) {
		if strings.EqualFold(token, "upgrade") {
			return h.Get("Upgrade")
		}
	}
	return ""
}

// connectionTokens are the values of Connection (RFC 9110, section 7.6.1).
func connectionTokens(h http.Header) []string {
	list := strings.Split(strings.Join(h.Values("Connection"), ","), ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// dropHops deletes the headers that are for one connection only.
func dropHops(h http.Header) {
	for _, name := range append(connectionTokens(h), "Connection", "Upgrade", "Keep-Alive", "Proxy-Connection",
		"Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding") {
		h.Del(name)
	}
}

// upgrade sends a request for another protocol on a connection of its own, and
// carries that protocol with its half-closes. net/http would end a broken stream
// like one that is complete.
func (f *forward) upgrade(w http.ResponseWriter) {
	protocol, ctx := upgradeOf(f.client.Header), f.client.Context()
	out := f.client.Clone(ctx)
	dropHops(out.Header)
	out.Header.Set("Connection", "Upgrade")
	out.Header.Set("Upgrade", protocol)
	if len(out.Header["User-Agent"]) == 0 {
		out.Header.Set("User-Agent", "") // none, where net/http would add its own
	}
	if err := f.ready(out); err != nil {
		f.failed(w, err)
		return
	}
	up, err := f.dial(ctx)
	if err != nil {
		f.failed(w, err)
		return
	}
	stop := context.AfterFunc(ctx, func() { up.Close() })
	br := bufio.NewReader(up)
	res, err := exchange(up, br, out)
	switch {
	case err != nil:
		f.failed(w, err)
	case res.StatusCode != http.StatusSwitchingProtocols:
		defer up.Close()
		defer stop()
		f.pass(w, refusal{res})
		return
	case !strings.EqualFold(upgradeOf(res.Header), protocol):
		f.failed(w, fmt.Errorf("asked for the protocol %q, and got %q", protocol, upgradeOf(res.Header)))
	case !stop():
		f.failed(w, context.Cause(ctx))
	default:
		early, _ := br.Peek(br.Buffered())
		f.join(w, res, conn.Buffered(up, early))
		return
	}
	stop()
	up.Close()
}

// refusal is the answer to a request for another protocol that stays with HTTP.
type refusal struct{ answer *http.Response }

// RoundTrip implements http.RoundTripper.
func (r refusal) RoundTrip(*http.Request) (*http.Response, error) { return r.answer, nil }

// exchange writes a request and reads its final answer.
func exchange(up net.Conn, br *bufio.Reader, out *http.Request) (*http.Response, error) {
	if err := out.Write(up); err != nil {
		return nil, err
	}
	for {
		res, err := http.ReadResponse(br, out)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil || res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, err
		}
	}
}

// join passes the answer on, and from then on bytes both ways. It owns up.
func (f *forward) join(w http.ResponseWriter, res *http.Response, up net.Conn) {
	client, buffers, err := http.NewResponseController(w).Hijack()
	if err != nil {
		up.Close()
		f.failed(w, err)
		return
	}
	early, _ := buffers.Reader.Peek(buffers.Reader.Buffered())
	client = conn.Buffered(client, early)
	res.Body = nil
	f.answered(res.Header)
	if err := res.Write(client); err != nil {
		client.Close()
		conn.Abort(up)
		up.Close()
		return
	}
	ctx := f.client.Context()
	st, err := conn.Splice(ctx, client, up)
	f.server.finished(f.to.Kind+" "+f.to.Name, clientAddr(ctx), st, err)
}
