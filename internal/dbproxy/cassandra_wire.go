package dbproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Operations of CQL (CQL binary protocol v4, section 2.4).
const (
	cqlError        = 0x00
	cqlStartup      = 0x01
	cqlReady        = 0x02
	cqlAuthenticate = 0x03
	cqlOptions      = 0x05
	cqlSupported    = 0x06
	cqlQuery        = 0x07
	cqlResult       = 0x08
	cqlAuthResponse = 0x0f
	cqlAuthSuccess  = 0x10
)

// Error codes of CQL (CQL binary protocol v4, section 9).
const (
	cqlProtocolError  = 0x000a
	cqlBadCredentials = 0x0100
	// cqlOverloaded is a trouble of the server that passes. After the plainer
	// server error (0) drivers think of the protocol's version and drop the text.
	cqlOverloaded = 0x1001
)

const (
	cqlAnswer  = 0x80    // flag of the version byte
	cqlNewest  = 5       // version that is answered; its first messages are those of 4
	cqlOwn     = 4       // version that tshx speaks itself
	cqlLongest = 1 << 20 // of a frame that is read; what comes first is short
	// cqlPatience is how many frames are read from a client that is to be
	// refused.
	cqlPatience = 8
	// cqlVersion is the version of the language, of which clients want one.
	cqlVersion = "3.4.5"
)

var errCQL = errors.New("malformed CQL frame")

// cqlFrame is a frame without its flags.
type cqlFrame struct {
	version byte
	stream  []byte // one byte up to version 2, later two
	op      byte
	body    []byte
}

func cqlHead(version byte) int {
	if version&^cqlAnswer <= 2 {
		return 8
	}
	return 9
}

// cassandraSpeaks knows versions 1 to 6 and the two of DataStax.
func cassandraSpeaks(first []byte) bool {
	v := first[0]
	if (v < 1 || v > 6) && v != 0x41 && v != 0x42 {
		return false
	}
	const beta = 0x10 // the only flag that has a meaning so early
	at := cqlHead(v) - 5
	switch {
	case first[1]&^beta != 0:
		return false
	case len(first) < at+5:
		return first[at] == cqlStartup || first[at] == cqlOptions
	}
	n := binary.BigEndian.Uint32(first[at+1:])
	return first[at] == cqlOptions && n == 0 || first[at] == cqlStartup && n > 2 && n < cqlLongest
}

func readCQL(r io.Reader) (cqlFrame, error) {
	head := make([]byte, 9)
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return cqlFrame{}, err
	}
	head = head[:cqlHead(head[0])]
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return cqlFrame{}, err
	}
	f := cqlFrame{version: head[0], stream: head[2 : len(head)-5], op: head[len(head)-5]}
	n := binary.BigEndian.Uint32(head[len(head)-4:])
	if n > cqlLongest {
		return cqlFrame{}, fmt.Errorf("%w: length %d", errCQL, n)
	}
	f.body = make([]byte, n)
	_, err := io.ReadFull(r, f.body)
	return f, err
}

func (f cqlFrame) encode() []byte {
	b := append([]byte{f.version, 0}, f.stream...)
	b = binary.BigEndian.AppendUint32(append(b, f.op), uint32(len(f.body)))
	return append(b, f.body...)
}

func cqlString(b []byte, s string) []byte {
	s = s[:min(len(s), 1<<16-1)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// answer returns the answer to f in the newest version that f's sender and
// this side know.
func (f cqlFrame) answer(op byte, body []byte) []byte {
	v := f.version
	if v > cqlNewest {
		v = cqlOwn
	}
	return cqlFrame{version: v | cqlAnswer, stream: f.stream, op: op, body: body}.encode()
}

// cassandraRefuse answers what a client asks before it starts and refuses the
// start.
func cassandraRefuse(client net.Conn, r Refusal) error {
	for range cqlPatience {
		f, err := readCQL(client)
		if err != nil {
			return err
		}
		code, text, last := uint32(cqlOverloaded), r.Text, true
		switch {
		case f.version&cqlAnswer != 0:
			return fmt.Errorf("%w: an answer from a client", errCQL)
		case f.version > cqlNewest:
			// Drivers look for this wording and try the next lower version.
			code, last = cqlProtocolError, false
			text = fmt.Sprintf("Invalid or unsupported protocol version (%d); supported versions are (3/v3, 4/v4, 5/v5)", f.version)
		case f.op == cqlOptions:
			if _, err := client.Write(f.answer(cqlSupported, cqlMultimap("CQL_VERSION", cqlVersion))); err != nil {
				return err
			}
			continue
		case r.Login:
			code = cqlBadCredentials
		}
		if _, err := client.Write(f.answer(cqlError, cqlString(binary.BigEndian.AppendUint32(nil, code), text))); err != nil {
			return err
		}
		if last {
			break
		}
	}
	return nil
}

// cqlMultimap is an answer to OPTIONS with one key of one value, and no
// compression.
func cqlMultimap(key, value string) []byte {
	b := cqlString([]byte{0, 2}, key)
	b = cqlString(append(b, 0, 1), value)
	return append(cqlString(b, "COMPRESSION"), 0, 0)
}

// cassandraPing asks for the options, which needs no login, and then for the
// version of the server with a password that counts for nothing: a proxy that
// logs in with the certificate takes any.
func cassandraPing(_ context.Context, c net.Conn, at Endpoint) (Pong, error) {
	start := time.Now()
	f, err := cqlAsk(c, cqlOptions, nil)
	if err != nil {
		return Pong{}, err
	}
	p := Pong{RoundTrip: time.Since(start)}
	if f.op != cqlSupported {
		return Pong{}, fmt.Errorf("%w: answer %#x to OPTIONS", errCQL, f.op)
	}
	version := cqlVersion
	if v := (&cqlReader{rest: f.body}).multimap()["CQL_VERSION"]; len(v) > 0 {
		version = v[len(v)-1]
		p.Version = "CQL " + version
	}
	if f, err = cqlAsk(c, cqlStartup, cqlString(cqlString([]byte{0, 1}, "CQL_VERSION"), version)); err != nil {
		return Pong{}, err
	}
	if f.op == cqlAuthenticate {
		wants := (&cqlReader{rest: f.body}).text()
		wants = wants[strings.LastIndexByte(wants, '.')+1:]
		token := "\x00" + at.User + "\x00tshx"
		f, err = cqlAsk(c, cqlAuthResponse, append(binary.BigEndian.AppendUint32(nil, uint32(len(token))), token...))
		said, refused := errors.AsType[*ServerError](err)
		switch {
		case refused && said.Code == cqlCode(cqlBadCredentials), err == nil && f.op != cqlAuthSuccess:
			p.Note = "wants a login (" + wants + ")"
			return p, nil
		case err != nil:
			return Pong{}, err
		}
	} else if f.op != cqlReady {
		return Pong{}, fmt.Errorf("%w: answer %#x to STARTUP", errCQL, f.op)
	}
	const query = "select release_version from system.local"
	body := append(binary.BigEndian.AppendUint32(nil, uint32(len(query))), query...)
	f, err = cqlAsk(c, cqlQuery, append(body, 0, 1, 0)) // consistency one, no flags
	if err != nil {
		p.Note = err.Error()
		return p, nil
	}
	if v := cqlFirstText(f); v != "" {
		p.Version = v
	}
	return p, nil
}

// cqlCode is how people write an error code of CQL.
func cqlCode(code uint64) string { return fmt.Sprintf("error %#04x", code) }

// cqlAsk returns the answer to one request, or *ServerError.
func cqlAsk(c net.Conn, op byte, body []byte) (cqlFrame, error) {
	if _, err := c.Write(cqlFrame{version: cqlOwn, stream: []byte{0, 0}, op: op, body: body}.encode()); err != nil {
		return cqlFrame{}, err
	}
	f, err := readCQL(c)
	if err != nil || f.op != cqlError {
		return f, err
	}
	r := &cqlReader{rest: f.body}
	return f, &ServerError{Code: cqlCode(r.number(4)), Text: r.text()}
}

// cqlFirstText returns the first value of a result that has rows, empty if it
// has none.
func cqlFirstText(f cqlFrame) string {
	const rows, global, paged = 2, 1, 2
	r := &cqlReader{rest: f.body}
	if f.op != cqlResult || r.number(4) != rows {
		return ""
	}
	flags := r.number(4)
	if r.number(4) != 1 || flags&^global&^paged != 0 {
		return ""
	}
	if flags&paged != 0 {
		r.take(r.number(4))
	}
	r.text() // keyspace, table, column
	r.text()
	r.text()
	r.take(2) // type
	if r.number(4) < 1 {
		return ""
	}
	return string(r.take(r.number(4)))
}

// cqlReader takes values off a body; what is not there is zero or empty.
type cqlReader struct{ rest []byte }

func (r *cqlReader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.rest = nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *cqlReader) number(size uint64) uint64 {
	n := uint64(0)
	for _, b := range r.take(size) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (r *cqlReader) text() string { return string(r.take(r.number(2))) }

func (r *cqlReader) multimap() map[string][]string {
	m := map[string][]string{}
	for keys := r.number(2); keys > 0 && len(r.rest) > 0; keys-- {
		key := r.text()
		for values := r.number(2); values > 0 && len(r.rest) > 0; values-- {
			m[key] = append(m[key], r.text())
		}
	}
	return m
}
