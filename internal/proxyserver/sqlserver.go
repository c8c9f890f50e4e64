package proxyserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
	"unicode/utf16"

	"tshx/internal/conn"
)

// Types of TDS packets ([MS-TDS], section 2.2.3.1.1).
const (
	tdsAnswer   = 0x04
	tdsLogin    = 0x10
	tdsPrelogin = 0x12
)

const (
	tdsHeaderLen    = 8
	tdsEndOfMessage = 1
	maxTDSMessage   = 64 << 10 // more than any message before the login ends
	// tdsEncryption is the option of PRELOGIN that says what a side can
	// ([MS-TDS], section 2.2.6.5), and tdsNotSupported that it cannot.
	tdsEncryption   = 1
	tdsNotSupported = 2
	tdsTerminator   = 0xff

	tdsErrUnreachable = 50000 // the first number that is no server's own
)

var (
	errTDS          = errors.New("sqlserver: malformed message")
	errTDSEncrypted = errors.New("sqlserver: the backend insists on encryption")
)

// sqlserver serves a client whose database is known. The client hears that
// there is no encryption, because its stream is encrypted already; all else in
// the answer to its first message is the backend's, and what follows is
// carried. It closes c.
func (s *Server) sqlserver(ctx context.Context, c net.Conn, db Database) (conn.Stats, error) {
	c.SetDeadline(time.Now().Add(startupTimeout))
	request, err := readTDSKind(c, tdsPrelogin)
	if err != nil {
		c.Close()
		return conn.Stats{}, fmt.Errorf("read PRELOGIN: %w", err)
	}
	b, answer, err := s.sqlserverDial(ctx, db, c.RemoteAddr(), request)
	if err != nil {
		refuseTDS(c, fmt.Sprintf("database %q cannot be reached", db.Name))
		c.Close()
		return conn.Stats{}, err
	}
	if err := errors.Join(writeTDSMessage(c, tdsAnswer, answer), c.SetDeadline(time.Time{})); err != nil {
		c.Close()
		b.Close()
		return conn.Stats{}, fmt.Errorf("sqlserver: answer PRELOGIN: %w", err)
	}
	return conn.Splice(ctx, c, b)
}

// sqlserverDial connects to a backend and returns its answer to request.
func (s *Server) sqlserverDial(ctx context.Context, db Database, client net.Addr, request []byte) (net.Conn, []byte, error) {
	b, err := s.dial(ctx, db.resource(client))
	if err != nil {
		return nil, nil, fmt.Errorf("dial backend: %w", err)
	}
	b.SetDeadline(time.Now().Add(startupTimeout))
	answer, err := tdsGreet(b, request)
	if err != nil {
		b.Close()
		return nil, nil, fmt.Errorf("greet the backend: %w", err)
	}
	return b, answer, b.SetDeadline(time.Time{})
}

func tdsGreet(b net.Conn, request []byte) ([]byte, error) {
	plain, _, err := withoutEncryption(request)
	if err != nil {
		return nil, err
	}
	if err := writeTDSMessage(b, tdsPrelogin, plain); err != nil {
		return nil, err
	}
	answer, err := readTDSKind(b, tdsAnswer)
	if err != nil {
		return nil, err
	}
	answer, was, err := withoutEncryption(answer)
	if err == nil && was != tdsNotSupported && was != 0 {
		err = errTDSEncrypted
	}
	return answer, err
}

// withoutEncryption returns a PRELOGIN message that says that there is no
// encryption, and what it said before.
func withoutEncryption(m []byte) ([]byte, byte, error) {
	end := 0 // of the table of options: each has a type, an offset and a length
	for end < len(m) && m[end] != tdsTerminator {
		end += 5
	}
	for at := 0; at < end && end < len(m); at += 5 {
		if m[at] != tdsEncryption {
			continue
		}
		value := int(binary.BigEndian.Uint16(m[at+1:]))
		if value <= end || value >= len(m) || binary.BigEndian.Uint16(m[at+3:]) != 1 {
			return nil, 0, errTDS
		}
		changed := bytes.Clone(m)
		changed[value] = tdsNotSupported
		return changed, m[value], nil
	}
	return nil, 0, fmt.Errorf("%w: PRELOGIN without a word on encryption", errTDS)
}

// refuseTDS tells a client that has sent its PRELOGIN why there is no database.
// It can only be told in answer to its login.
func refuseTDS(c net.Conn, message string) {
	// No version, no encryption.
	greeting := []byte{0, 0, 11, 0, 6, tdsEncryption, 0, 17, 0, 1, tdsTerminator, 0, 0, 0, 0, 0, 0, tdsNotSupported}
	if writeTDSMessage(c, tdsAnswer, greeting) != nil {
		return
	}
	if _, err := readTDSKind(c, tdsLogin); err != nil {
		return
	}
	text := utf16.Encode([]rune(message))
	e := binary.LittleEndian.AppendUint32(nil, tdsErrUnreachable)
	e = append(e, 1, 16) // state, severity
	e = binary.LittleEndian.AppendUint16(e, uint16(len(text)))
	for _, u := range text {
		e = binary.LittleEndian.AppendUint16(e, u)
	}
	e = append(e, 0, 0, 1, 0, 0, 0) // no server, no procedure, line 1
	tokens := binary.LittleEndian.AppendUint16([]byte{0xaa}, uint16(len(e)))
	done := append([]byte{0xfd, 2}, make([]byte, 11)...)
	if writeTDSMessage(c, tdsAnswer, slices.Concat(tokens, e, done)) == nil {
		conn.CloseWrite(c)
		io.Copy(io.Discard, c)
	}
}

// readTDSKind reads one message of one or more packets of the given type.
func readTDSKind(r io.Reader, kind byte) ([]byte, error) {
	var body []byte
	for head := make([]byte, tdsHeaderLen); ; {
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, fmt.Errorf("sqlserver: %w", err)
		}
		n := int(binary.BigEndian.Uint16(head[2:])) - tdsHeaderLen
		if n <= 0 || len(body)+n > maxTDSMessage || head[0] != kind {
			return nil, fmt.Errorf("%w: packet of type %d, %d bytes", errTDS, head[0], n)
		}
		body = append(body, make([]byte, n)...)
		if _, err := io.ReadFull(r, body[len(body)-n:]); err != nil {
			return nil, fmt.Errorf("sqlserver: %w", err)
		}
		if head[1]&tdsEndOfMessage != 0 {
			return body, nil
		}
	}
}

// writeTDSMessage writes one message of one packet.
func writeTDSMessage(w io.Writer, kind byte, body []byte) error {
	if len(body) > maxTDSMessage-1-tdsHeaderLen {
		return errTDS
	}
	head := []byte{kind, tdsEndOfMessage, 0, 0, 0, 0, 1, 0}
	binary.BigEndian.PutUint16(head[2:], uint16(tdsHeaderLen+len(body)))
	_, err := w.Write(append(head, body...))
	return err
}
