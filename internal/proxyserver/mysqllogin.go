package proxyserver

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// mysqlLogin is a client's login message (HandshakeResponse41) without its
// answer to the challenge.
type mysqlLogin struct {
	flags uint32
	head  []byte // largest message, character set, filler
	user  []byte
	db    []byte
	attrs []byte // with its length in front; empty if not sent
}

func parseLogin(m []byte) (mysqlLogin, error) {
	if len(m) <= mysqlSSLRequestLen {
		return mysqlLogin{}, errMySQLShort
	}
	l := mysqlLogin{flags: capabilities(m), head: m[4:mysqlSSLRequestLen]}
	const need = mysqlProtocol41 | mysqlSecure | mysqlPluginAuth
	if l.flags&need != need {
		return l, errors.New("mysql: the client is too old: it cannot switch the authentication")
	}
	r := &mysqlReader{rest: m[mysqlSSLRequestLen:]}
	l.user = r.cstring()
	if l.flags&mysqlLenencAuth != 0 {
		r.next(r.lenenc())
	} else {
		r.next(uint64(r.byte()))
	}
	if l.flags&mysqlConnectWithDB != 0 {
		l.db = r.cstring()
	}
	r.cstring() // plugin
	if l.flags&mysqlConnectAttrs != 0 {
		l.attrs = r.rest
	}
	return l, r.err
}

// noPlugin is the authentication that the front claims the client to have used.
// No server has it. Every server answers an unknown one, which it takes for
// another one than the account's, by naming the account's and sending its
// challenge, and that is what the client is to answer.
const noPlugin = "tshx_ask_again"

// encode is the login for a backend that announces flags: with the capabilities
// that both sides have, and no answer to a challenge yet.
func (l mysqlLogin) encode(flags uint32) []byte {
	flags = l.flags & (flags | mysqlLongPassword | mysqlPluginAuth) &^ mysqlSSL
	m := binary.LittleEndian.AppendUint32(nil, flags)
	m = append(m, l.head...)
	m = append(append(m, l.user...), 0)
	m = append(m, 0) // length of the answer
	if flags&mysqlConnectWithDB != 0 {
		m = append(append(m, l.db...), 0)
	}
	m = append(append(m, noPlugin...), 0)
	if flags&mysqlConnectAttrs != 0 {
		m = append(m, l.attrs...)
	}
	return m
}

// mysqlReader takes a message apart and remembers if it was too short.
type mysqlReader struct {
	rest []byte
	err  error
}

func (r *mysqlReader) next(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.err = errMySQLShort
		r.rest = nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *mysqlReader) byte() byte {
	if b := r.next(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// cstring ends with a zero; a missing one at the very end is forgiven, as
// servers do.
func (r *mysqlReader) cstring() []byte {
	before, after, _ := bytes.Cut(r.rest, []byte{0})
	r.rest = after
	return before
}

// lenenc reads a length-encoded integer.
func (r *mysqlReader) lenenc() uint64 {
	width := map[byte]uint64{0xfc: 2, 0xfd: 3, 0xfe: 8}
	first := r.byte()
	n, ok := width[first]
	if !ok {
		return uint64(first)
	}
	var b [8]byte
	copy(b[:], r.next(n))
	return binary.LittleEndian.Uint64(b[:])
}
