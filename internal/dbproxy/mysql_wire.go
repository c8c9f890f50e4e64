package dbproxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// The first byte of a packet's payload says what it is (MySQL documentation,
// "Client/Server Protocol").
const (
	mysqlOK       = 0x00
	mysqlMoreData = 0x01 // of a login
	mysqlVersion  = 10   // of the protocol, in a greeting
	mysqlEOF      = 0xfe // and, in a login, the wish for another method
	mysqlERR      = 0xff

	mysqlQuit  = 0x01
	mysqlQuery = 0x03
	mysqlPong  = 0x0e
)

// Capabilities.
const (
	mysqlLongPassword  = 1
	mysqlWithDatabase  = 8
	mysqlProtocol41    = 0x200
	mysqlSecureAuth    = 0x8000
	mysqlPluginAuth    = 0x80000
	mysqlNativeMethod  = "mysql_native_password"
	mysqlCachingMethod = "caching_sha2_password"
)

// mysqlLongest is the most of an error's text that clients keep (MYSQL_ERRMSG_SIZE).
const mysqlLongest = 511

// mysqlRefuse sends an ERR packet in the place of the greeting. Servers do that
// too, when they have too many connections, and without an SQLSTATE: there are
// no capabilities yet that announce one.
//
// All clients show the text. Where MariaDB's wants TLS if it can be had, which
// is its default, it adds that the text cannot be trusted without; the printed
// command of a tunnel turns TLS off.
func mysqlRefuse(client net.Conn, r Refusal) error {
	const accessDenied, handshakeError = 1045, 1043
	number := uint16(handshakeError)
	if r.Login {
		number = accessDenied
	}
	text := asciiLine(r.Text)
	text = text[:min(len(text), mysqlLongest)]
	payload := append(binary.LittleEndian.AppendUint16([]byte{mysqlERR}, number), text...)
	if err := (&mysqlSession{c: client}).write(payload); err != nil {
		return fmt.Errorf("refuse a MySQL client: %w", err)
	}
	return nil
}

// errNotMySQL says that bytes are no packets of a server.
var errNotMySQL = errors.New("not the MySQL protocol")

// errMySQLPassword says that a login needs what we do not have.
var errMySQLPassword = errors.New("the server wants a password")

// mysqlPing logs in, which in a tunnel takes no password, and asks for the
// version: the greeting's is the proxy's word.
//
// It knows only this much of the protocol. The common Go driver panics over
// packets that are too short, and costs half a megabyte.
func mysqlPing(_ context.Context, c net.Conn, at Endpoint) (Pong, error) {
	s := &mysqlSession{c: c}
	version, err := s.login(at.User, at.Name)
	if errors.Is(err, errMySQLPassword) {
		return Pong{Version: version, Note: err.Error()}, nil
	}
	if err != nil {
		return Pong{}, err
	}
	start := time.Now()
	if _, err := s.ask(mysqlPong, ""); err != nil {
		return Pong{}, err
	}
	pong := Pong{RoundTrip: time.Since(start)}
	if pong.Version, err = s.version(); err != nil {
		return Pong{}, err
	}
	s.number = 0
	s.write([]byte{mysqlQuit}) // a farewell; nothing is wrong without
	return pong, nil
}

// mysqlSession is a client's or a server's end of a connection.
type mysqlSession struct {
	c      net.Conn
	number byte // of the next packet
}

func (s *mysqlSession) write(payload []byte) error {
	packet := binary.LittleEndian.AppendUint32(nil, uint32(len(payload))|uint32(s.number)<<24)
	s.number++
	if _, err := s.c.Write(append(packet, payload...)); err != nil {
		return fmt.Errorf("write a packet: %w", err)
	}
	return nil
}

// read returns the payload of the next packet, at least one byte. An ERR packet
// is a *ServerError.
func (s *mysqlSession) read() ([]byte, error) {
	const longest = 1 << 16 // far more than is asked for
	var head [4]byte
	if _, err := io.ReadFull(s.c, head[:]); err != nil {
		return nil, fmt.Errorf("read from the server: %w", err)
	}
	length := binary.LittleEndian.Uint32(head[:]) & 0xffffff
	s.number = head[3] + 1
	if length == 0 || length > longest {
		return nil, errNotMySQL
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(s.c, payload); err != nil {
		return nil, fmt.Errorf("read from the server: %w", err)
	}
	if payload[0] != mysqlERR {
		return payload, nil
	}
	if len(payload) < 3 {
		return nil, errNotMySQL
	}
	text := payload[3:]
	if len(text) > 5 && text[0] == '#' { // the SQLSTATE
		text = text[6:]
	}
	return nil, &ServerError{Code: strconv.Itoa(int(binary.LittleEndian.Uint16(payload[1:]))), Text: string(text)}
}

// ask sends a command and returns the first packet of the answer.
func (s *mysqlSession) ask(command byte, text string) ([]byte, error) {
	s.number = 0
	if err := s.write(append([]byte{command}, text...)); err != nil {
		return nil, err
	}
	return s.read()
}

// mysqlGreeting is what a client must know of a server's first packet.
type mysqlGreeting struct {
	version      string
	capabilities uint32
	method       string // of the login
}

func parseMySQLGreeting(payload []byte) (g mysqlGreeting, err error) {
	version, rest, ok := bytes.Cut(payload[1:], []byte{0})
	// Thread, 8 bytes of a challenge and a zero; lower capabilities.
	const lower = 4 + 8 + 1
	if payload[0] != mysqlVersion || !ok || len(rest) < lower+2 {
		return g, errNotMySQL
	}
	g.version = string(version)
	g.capabilities = uint32(binary.LittleEndian.Uint16(rest[lower:]))
	// Character set and status; upper capabilities, length of the whole
	// challenge, 10 zeros.
	const upper = lower + 2 + 1 + 2
	const challenge = upper + 2 + 1 + 10
	if len(rest) < challenge {
		return g, nil
	}
	g.capabilities |= uint32(binary.LittleEndian.Uint16(rest[upper:])) << 16
	more := max(13, int(rest[upper+2])-8)
	if g.capabilities&mysqlPluginAuth != 0 && len(rest) > challenge+more {
		method, _, _ := bytes.Cut(rest[challenge+more:], []byte{0})
		g.method = string(method)
	}
	return g, nil
}

// login begins a session without a password and returns the version of the
// greeting. It fails with errMySQLPassword where one is asked for.
func (s *mysqlSession) login(user, database string) (version string, err error) {
	first, err := s.read()
	if err != nil {
		return "", err
	}
	g, err := parseMySQLGreeting(first)
	if err != nil {
		return "", err
	}
	if err := s.write(g.answer(user, database)); err != nil {
		return "", err
	}
	for range 4 { // more than any login without a password takes
		p, err := s.read()
		if err != nil {
			return g.version, err
		}
		switch p[0] {
		case mysqlOK:
			return g.version, nil
		case mysqlEOF:
			method, _, _ := bytes.Cut(p[1:], []byte{0})
			if m := string(method); m != mysqlNativeMethod && m != mysqlCachingMethod {
				return g.version, errMySQLPassword
			}
			if err := s.write(nil); err != nil {
				return g.version, err
			}
		case mysqlMoreData:
			const goodAlready = 3
			if len(p) != 2 || p[1] != goodAlready {
				return g.version, errMySQLPassword
			}
		default:
			return g.version, errNotMySQL
		}
	}
	return g.version, errNotMySQL
}

// answer is the login of a user without a password.
func (g mysqlGreeting) answer(user, database string) []byte {
	const longestPacket, utf8mb4 = 1 << 24, 45
	capabilities := g.capabilities & (mysqlLongPassword | mysqlProtocol41 | mysqlSecureAuth | mysqlPluginAuth)
	if database != "" {
		capabilities |= g.capabilities & mysqlWithDatabase
	}
	p := binary.LittleEndian.AppendUint32(nil, capabilities)
	p = binary.LittleEndian.AppendUint32(p, longestPacket)
	p = append(p, utf8mb4)
	p = append(p, make([]byte, 23)...)
	p = append(append(p, user...), 0)
	p = append(p, 0) // the length of the answer to the challenge
	if capabilities&mysqlWithDatabase != 0 {
		p = append(append(p, database...), 0)
	}
	if capabilities&mysqlPluginAuth != 0 {
		p = append(append(p, g.method...), 0)
	}
	return p
}

// version asks the database itself. The answer is one row of one string, short
// enough that its length is one byte.
func (s *mysqlSession) version() (string, error) {
	const longest = 250
	p, err := s.ask(mysqlQuery, "SELECT VERSION()")
	for range 2 { // the column and the end of the columns
		if err == nil {
			_, err = s.read()
		}
	}
	if err == nil {
		p, err = s.read()
	}
	if err != nil {
		return "", err
	}
	if p[0] > longest || len(p) != 1+int(p[0]) {
		return "", errNotMySQL
	}
	return string(p[1:]), nil
}
