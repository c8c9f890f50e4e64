package proxyserver

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// Capability flags (MySQL documentation, "Capabilities Flags").
const (
	mysqlLongPassword  = 1 << 0 // MariaDB clears it to announce extended flags
	mysqlConnectWithDB = 1 << 3
	mysqlProtocol41    = 1 << 9
	mysqlSSL           = 1 << 11
	mysqlSecure        = 1 << 15
	mysqlPluginAuth    = 1 << 19
	mysqlConnectAttrs  = 1 << 20
	mysqlLenencAuth    = 1 << 21

	// mysqlOwn is what the front announces before it knows the backend: what
	// every server of the last decade can do. Left out is what would change the
	// form of results, since that could not be taken back (deprecated EOF, session
	// tracking, compression).
	mysqlOwn = mysqlLongPassword | 1<<1 /* found rows */ | 1<<2 /* long flag */ |
		mysqlConnectWithDB | 1<<7 /* local files */ | 1<<8 /* ignore space */ |
		mysqlProtocol41 | 1<<10 /* interactive */ | mysqlSSL | 1<<13 /* transactions */ |
		mysqlSecure | 1<<16 /* multi statements */ | 1<<17 /* multi results */ |
		1<<18 /* multi results of prepared statements */ | mysqlPluginAuth |
		mysqlConnectAttrs | mysqlLenencAuth
)

// First bytes of a server's messages during the login.
const (
	mysqlOK  = 0x00
	mysqlERR = 0xff
	// mysqlFastAuthDone is the one message that the client does not answer
	// (caching_sha2_password); OK follows.
	mysqlFastAuthDone = "\x01\x03"
)

const (
	mysqlSSLRequestLen = 32
	mysqlChallengeLen  = 20
	maxMySQLLogin      = 64 << 10 // more than any message of a login
	nativePassword     = "mysql_native_password"
)

var errMySQLShort = errors.New("mysql: message is cut short")

func readMySQLPacket(r io.Reader) (seq byte, payload []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if n > maxMySQLLogin {
		return 0, nil, fmt.Errorf("mysql: message of %d bytes is out of range", n)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[3], payload, err
}

func writeMySQLPacket(w io.Writer, seq byte, payload []byte) error {
	n := len(payload)
	_, err := w.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), seq}, payload...))
	return err
}

// mysqlPeer is one side of a login. It counts the sequence number, which client
// and server share.
type mysqlPeer struct {
	net.Conn
	seq byte // of the next message in either direction
}

func (p *mysqlPeer) read() ([]byte, error) {
	seq, m, err := readMySQLPacket(p.Conn)
	p.seq = seq + 1
	return m, err
}

// readServer reads a message of a server, which has a first byte that tells
// its kind.
func (p *mysqlPeer) readServer() ([]byte, error) {
	m, err := p.read()
	if err == nil && len(m) == 0 {
		err = errMySQLShort
	}
	return m, err
}

func (p *mysqlPeer) write(m []byte) error {
	p.seq++
	return writeMySQLPacket(p.Conn, p.seq-1, m)
}

// ownGreeting is the first message of a server that does not know its backend.
func ownGreeting(version string) []byte {
	challenge := make([]byte, mysqlChallengeLen)
	rand.Read(challenge)
	for i := range challenge {
		challenge[i] = challenge[i]&0x7f | 1 // no NUL, no high bit
	}
	m := append([]byte{10}, version...)
	m = append(m, 0)
	m = append(m, 1, 0, 0, 0) // connection id
	m = append(m, challenge[:8]...)
	m = append(m, 0)
	m = binary.LittleEndian.AppendUint16(m, mysqlOwn&0xffff)
	m = append(m, 45, 2, 0) // utf8mb4, autocommit
	m = binary.LittleEndian.AppendUint16(m, mysqlOwn>>16)
	m = append(m, mysqlChallengeLen+1)
	m = append(m, make([]byte, 10)...)
	m = append(m, challenge[8:]...)
	m = append(m, 0)
	return append(append(m, nativePassword...), 0)
}

// flagsOffset is where the lower half of the capabilities is, behind the
// version: connection id, first part of the challenge, a zero.
const flagsOffset = 4 + 8 + 1

// greetingFlags returns the capabilities that a backend announces.
func greetingFlags(m []byte) (uint32, error) {
	if m[0] == mysqlERR {
		return 0, errors.New("mysql: the backend refused the connection")
	}
	end := bytes.IndexByte(m, 0)
	if m[0] != 10 || end < 0 {
		return 0, errors.New("mysql: unknown greeting of the backend")
	}
	if m = m[end+1:]; len(m) < flagsOffset+7 {
		return 0, errMySQLShort
	}
	low, high := binary.LittleEndian.Uint16(m[flagsOffset:]), binary.LittleEndian.Uint16(m[flagsOffset+5:])
	return uint32(low) | uint32(high)<<16, nil
}

// withoutSSL returns a greeting that offers no TLS. An error that came in place
// of a greeting stays as it is.
func withoutSSL(m []byte) []byte {
	end := bytes.IndexByte(m, 0)
	if m[0] != 10 || end < 0 || len(m) < end+1+flagsOffset+2 {
		return m
	}
	m = bytes.Clone(m)
	flags := m[end+1+flagsOffset:]
	binary.LittleEndian.PutUint16(flags, binary.LittleEndian.Uint16(flags)&^mysqlSSL)
	return m
}

// mysqlError is an ERR message. Without a state it is for the time before the
// greeting, when clients expect none.
func mysqlError(code uint16, state, message string) []byte {
	m := binary.LittleEndian.AppendUint16([]byte{mysqlERR}, code)
	if state != "" {
		m = append(append(m, '#'), state...)
	}
	return append(m, message...)
}

func capabilities(m []byte) uint32 { return binary.LittleEndian.Uint32(m) }
