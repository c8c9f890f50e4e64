package dbproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Bounds of reading HTTP/2.
const (
	http2Frame  = 16 << 10  // the longest frame (RFC 9113, section 4.2)
	http2Limit  = 256 << 10 // all frames together
	http2Frames = 100       // the frames that may come before the one that is waited for
)

// Status codes of gRPC. "Unavailable" would fit better than the first, but
// Google's libraries repeat that for a minute before they say anything.
const (
	grpcFailedPrecondition = 9
	grpcUnauthenticated    = 16
)

// ErrNoHTTP2 says that the other side does not speak HTTP/2 as gRPC does.
var ErrNoHTTP2 = errors.New("this is no gRPC")

// speaksHTTP2 reports whether first begins the preface of an HTTP/2 client that
// has no TLS (RFC 9113, section 3.4).
func speaksHTTP2(first []byte) bool {
	n := min(len(first), len(http2.ClientPreface))
	return string(first[:n]) == http2.ClientPreface[:n]
}

// refuseGRPC fails the first call of a gRPC client and sends the client away.
func refuseGRPC(client net.Conn, r Refusal) error {
	if err := refuseCall(client, r); err != nil {
		return fmt.Errorf("refuse a gRPC client: %w", err)
	}
	return nil
}

func refuseCall(client net.Conn, r Refusal) error {
	in := io.LimitReader(client, http2Limit)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(in, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return ErrNoHTTP2
	}
	f := newFramer(client, in)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	stream, err := firstCall(f)
	if err != nil {
		return err
	}
	// An answer of trailers alone (gRPC documentation, "PROTOCOL-HTTP2").
	if err := f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: grpcTrailers(r), EndHeaders: true, EndStream: true,
	}); err != nil {
		return err
	}
	// Later calls are for a new connection.
	return f.WriteGoAway(stream, http2.ErrCodeNo, nil)
}

func newFramer(w io.Writer, r io.Reader) *http2.Framer {
	f := http2.NewFramer(w, r)
	f.SetMaxReadFrameSize(http2Frame)
	return f
}

// firstCall reads up to the end of the first head of a request and returns its
// stream. What the head says does not matter.
func firstCall(f *http2.Framer) (uint32, error) {
	for range http2Frames {
		frame, err := f.ReadFrame()
		if err != nil {
			return 0, err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				err = f.WritePing(true, frame.Data)
			}
		case *http2.HeadersFrame:
			if frame.HeadersEnded() {
				return frame.StreamID, nil
			}
		case *http2.ContinuationFrame:
			if frame.HeadersEnded() {
				return frame.StreamID, nil
			}
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, ErrNoHTTP2
}

func grpcTrailers(r Refusal) []byte {
	code := grpcFailedPrecondition
	if r.Login {
		code = grpcUnauthenticated
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, h := range []hpack.HeaderField{
		{Name: ":status", Value: "200"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "grpc-status", Value: strconv.Itoa(code)},
		{Name: "grpc-message", Value: grpcMessage(r.Text)},
	} {
		enc.WriteField(h) // to memory
	}
	return block.Bytes()
}

// grpcMessage escapes all bytes that are no printable ASCII, and the percent
// sign (gRPC documentation, "PROTOCOL-HTTP2"). It cuts the text to what surely
// fits into one frame.
func grpcMessage(text string) string {
	const longest = 2 << 10
	var b strings.Builder
	for _, c := range []byte(text[:min(len(text), longest)]) {
		if c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// http2Ping exchanges settings with a server and measures a ping.
func http2Ping(_ context.Context, c net.Conn, _ Endpoint) (Pong, error) {
	// One write: a server may look at the settings only behind the preface.
	var hello bytes.Buffer
	hello.WriteString(http2.ClientPreface)
	http2.NewFramer(&hello, nil).WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	if _, err := c.Write(hello.Bytes()); err != nil {
		return Pong{}, fmt.Errorf("send the HTTP/2 preface: %w", err)
	}
	f := newFramer(c, io.LimitReader(c, http2Limit))
	if err := http2Settings(f); err != nil {
		return Pong{}, fmt.Errorf("read the HTTP/2 settings: %w", err)
	}
	start := time.Now()
	if err := f.WritePing(false, [8]byte{'t', 's', 'h', 'x'}); err != nil {
		return Pong{}, fmt.Errorf("send the HTTP/2 ping: %w", err)
	}
	if err := http2Ack(f); err != nil {
		return Pong{}, fmt.Errorf("read the answer to the HTTP/2 ping: %w", err)
	}
	took := time.Since(start)
	f.WriteGoAway(0, http2.ErrCodeNo, nil) // a courtesy
	return Pong{RoundTrip: took, Note: "gRPC tells no version"}, nil
}

// http2Settings reads the server's preface, a settings frame.
func http2Settings(f *http2.Framer) error {
	frame, err := f.ReadFrame()
	if err != nil {
		return err
	}
	if s, ok := frame.(*http2.SettingsFrame); !ok || s.IsAck() {
		return ErrNoHTTP2
	}
	return f.WriteSettingsAck()
}

// http2Ack reads up to the answer to our ping.
func http2Ack(f *http2.Framer) error {
	for range http2Frames {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.PingFrame:
			if frame.IsAck() {
				return nil
			}
			if err := f.WritePing(true, frame.Data); err != nil {
				return err
			}
		case *http2.GoAwayFrame:
			return fmt.Errorf("%w: the server sent us away: %s", ErrNoHTTP2, frame.DebugData())
		}
	}
	return ErrNoHTTP2
}
