package dbproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
	"unicode/utf16"
)

// Types of TDS packets ([MS-TDS], section 2.2.3.1.1).
const (
	tdsReply    = 0x04
	tdsLogin7   = 0x10
	tdsPrelogin = 0x12
)

// Tokens of a TDS answer ([MS-TDS], section 2.2.7).
const (
	tdsTokenError    = 0xaa
	tdsTokenInfo     = 0xab
	tdsTokenLoginAck = 0xad
	tdsTokenEnv      = 0xe3
	tdsTokenDone     = 0xfd
)

// Options of a PRELOGIN message ([MS-TDS], section 2.2.6.5).
const (
	tdsOptVersion    = 0
	tdsOptEncryption = 1
	tdsOptEnd        = 0xff
	tdsNoEncryption  = 2 // ENCRYPT_NOT_SUP
)

const (
	tdsHeader  = 8
	tdsLast    = 1        // status of a message's last packet
	tdsLongest = 64 << 10 // of a message that is read
	// tdsRefusalText is how much of a refusal is told, in UTF-16: what fits into
	// one packet of 4096 bytes, which is what clients begin with.
	tdsRefusalText = 1900
	tdsLogin7Size  = 94 // fixed part of LOGIN7
	tdsVersion72   = 0x72090002
	tdsVersion74   = 0x74000004

	tdsErrLogin   = 18456 // login failed
	tdsErrRefused = 50000 // the first number that is no server's own
)

var errTDS = errors.New("malformed TDS message")

// sqlserverSpeaks tells by the header of the first packet, which belongs to no
// session yet.
func sqlserverSpeaks(first []byte) bool {
	return (first[0] == tdsPrelogin || first[0] == tdsLogin7) && first[1] <= tdsLast &&
		binary.BigEndian.Uint16(first[2:]) > tdsHeader && binary.BigEndian.Uint16(first[4:]) == 0
}

// readTDS reads one message of one or more packets.
func readTDS(r io.Reader) (kind byte, body []byte, err error) {
	head := make([]byte, tdsHeader)
	for {
		if _, err := io.ReadFull(r, head); err != nil {
			return 0, nil, err
		}
		n := int(binary.BigEndian.Uint16(head[2:])) - tdsHeader
		if n < 0 || body != nil && head[0] != kind || len(body)+n > tdsLongest {
			return 0, nil, errTDS
		}
		kind = head[0]
		body = append(body, make([]byte, n)...)
		if _, err := io.ReadFull(r, body[len(body)-n:]); err != nil {
			return 0, nil, err
		}
		if head[1]&tdsLast != 0 {
			return kind, body, nil
		}
		if n == 0 {
			return 0, nil, errTDS // no packet in the middle is empty
		}
	}
}

// writeTDS writes one message of one packet.
func writeTDS(w io.Writer, kind byte, body []byte) error {
	b := []byte{kind, tdsLast, 0, 0, 0, 0, 1, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(tdsHeader+len(body)))
	_, err := w.Write(append(b, body...))
	return err
}

// tdsPreloginMessage says version and that there is no encryption.
func tdsPreloginMessage(version [6]byte) []byte {
	const table = 5 + 5 + 1
	b := []byte{tdsOptVersion, 0, table, 0, 6, tdsOptEncryption, 0, table + 6, 0, 1, tdsOptEnd}
	return append(append(b, version[:]...), tdsNoEncryption)
}

// tdsOption returns an option of a PRELOGIN message, nil if it is not there.
func tdsOption(m []byte, option byte) []byte {
	for at := 0; at+5 <= len(m) && m[at] != tdsOptEnd; at += 5 {
		if m[at] != option {
			continue
		}
		from := int(binary.BigEndian.Uint16(m[at+1:]))
		to := from + int(binary.BigEndian.Uint16(m[at+3:]))
		if to > len(m) {
			return nil
		}
		return m[from:to]
	}
	return nil
}

// sqlserverRefuse lets the client come to its login, which is the first place
// where a server can say an error.
func sqlserverRefuse(client net.Conn, r Refusal) error {
	kind, m, err := readTDS(client)
	if err == nil && kind == tdsPrelogin {
		if err := writeTDS(client, tdsReply, tdsPreloginMessage([6]byte{16})); err != nil {
			return err
		}
		kind, m, err = readTDS(client)
	}
	switch {
	case err != nil:
		return err
	case kind != tdsLogin7 || len(m) < 8:
		return fmt.Errorf("%w: packet type %d in place of a login", errTDS, kind)
	}
	old := binary.LittleEndian.Uint32(m[4:]) < tdsVersion72
	return writeTDS(client, tdsReply, tdsRefusal(r, old))
}

// tdsRefusal is the tokens ERROR and DONE. Before TDS 7.2 some of their fields
// are shorter.
func tdsRefusal(r Refusal, old bool) []byte {
	number, class := uint32(tdsErrRefused), byte(16)
	if r.Login {
		number, class = tdsErrLogin, 14
	}
	text := utf16.Encode([]rune(r.Text))
	text = text[:min(len(text), tdsRefusalText)]
	e := binary.LittleEndian.AppendUint32(nil, number)
	e = append(e, 1, class) // state, severity
	e = tdsText(binary.LittleEndian.AppendUint16(e, uint16(len(text))), text)
	server := utf16.Encode([]rune("tshx"))
	e = append(tdsText(append(e, byte(len(server))), server), 0) // no procedure
	e = append(e, 1, 0)                                          // line
	done := make([]byte, 12)
	if old {
		done = done[:8]
	} else {
		e = append(e, 0, 0)
	}
	done[0] = 2 // an error, and the last token
	b := append(binary.LittleEndian.AppendUint16([]byte{tdsTokenError}, uint16(len(e))), e...)
	return append(append(b, tdsTokenDone), done...)
}

func tdsText(b []byte, text []uint16) []byte {
	for _, u := range text {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// sqlserverPing exchanges PRELOGIN, which the proxy answers itself, and then
// logs in with a password that counts for nothing: a proxy that logs in with
// the certificate answers with the server's own version, and any other with an
// error, after which the version is the one of PRELOGIN.
func sqlserverPing(_ context.Context, c net.Conn, at Endpoint) (Pong, error) {
	start := time.Now()
	if err := writeTDS(c, tdsPrelogin, tdsPreloginMessage([6]byte{})); err != nil {
		return Pong{}, err
	}
	kind, m, err := readTDS(c)
	if err != nil {
		return Pong{}, err
	}
	p := Pong{RoundTrip: time.Since(start)}
	v := tdsOption(m, tdsOptVersion)
	if kind != tdsReply || len(v) < 4 {
		return Pong{}, fmt.Errorf("%w: no answer to PRELOGIN", errTDS)
	}
	p.Version = fmt.Sprintf("%d.%d.%d", v[0], v[1], binary.BigEndian.Uint16(v[2:]))
	if enc := tdsOption(m, tdsOptEncryption); len(enc) != 1 || enc[0] != tdsNoEncryption {
		p.Note = "the server wants to encrypt inside the tunnel"
		return p, nil
	}
	if err := writeTDS(c, tdsLogin7, tdsLogin(at)); err != nil {
		return Pong{}, err
	}
	if _, m, err = readTDS(c); err != nil {
		return Pong{}, err
	}
	a, err := parseTDSAnswer(m)
	switch {
	case err != nil:
		return Pong{}, err
	case a.version != "":
		p.Version = a.version
	case a.number == tdsErrLogin:
		p.Note = a.text
	default:
		return Pong{}, &ServerError{Code: fmt.Sprintf("error %d", a.number), Text: a.text}
	}
	return p, nil
}

// tdsLogin is a LOGIN7 message ([MS-TDS], section 2.2.6.4).
func tdsLogin(at Endpoint) []byte {
	b := make([]byte, tdsLogin7Size)
	binary.LittleEndian.PutUint32(b[4:], tdsVersion74)
	binary.LittleEndian.PutUint32(b[8:], 4096) // packet size
	b[24] = 0xe0                               // say if the database or the language is not had
	// Host name, user, password, program, server, extension, library,
	// language, database: offset and length each.
	fields := []string{"", at.User, sqlserverPassword, "tshx", "", "", "tshx", "", at.Name}
	for i, f := range fields {
		text := utf16.Encode([]rune(f))
		text = text[:min(len(text), 128)]
		binary.LittleEndian.PutUint16(b[36+4*i:], uint16(len(b)))
		binary.LittleEndian.PutUint16(b[38+4*i:], uint16(len(text)))
		from := len(b)
		b = tdsText(b, text)
		if i == 2 { // the password is scrambled
			for j := from; j < len(b); j++ {
				b[j] = (b[j]<<4 | b[j]>>4) ^ 0xa5
			}
		}
	}
	for _, none := range []int{78, 82, 86} { // SSPI, file to attach, new password
		binary.LittleEndian.PutUint16(b[none:], uint16(len(b)))
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

// tdsAnswer is what the answer to a login says.
type tdsAnswer struct {
	version string // of the server, if the login was taken
	number  uint32 // of the first error otherwise
	text    string
}

// parseTDSAnswer reads the tokens of an answer up to the first that says
// whether the login was taken.
func parseTDSAnswer(m []byte) (tdsAnswer, error) {
	for len(m) >= 3 {
		kind, n := m[0], int(binary.LittleEndian.Uint16(m[1:]))
		if kind == tdsTokenDone || n > len(m)-3 {
			break
		}
		body := m[3 : 3+n]
		m = m[3+n:]
		switch kind {
		case tdsTokenError:
			if len(body) < 8 {
				return tdsAnswer{}, errTDS
			}
			length := min(2*int(binary.LittleEndian.Uint16(body[6:])), len(body)-8)
			return tdsAnswer{number: binary.LittleEndian.Uint32(body), text: tdsString(body[8 : 8+length])}, nil
		case tdsTokenLoginAck: // its last four bytes are the version
			if len(body) < 4 {
				return tdsAnswer{}, errTDS
			}
			v := body[len(body)-4:]
			return tdsAnswer{version: fmt.Sprintf("%d.%d.%d", v[0], v[1], binary.BigEndian.Uint16(v[2:]))}, nil
		case tdsTokenInfo, tdsTokenEnv:
		default:
			return tdsAnswer{}, fmt.Errorf("%w: token %#x", errTDS, kind)
		}
	}
	return tdsAnswer{}, fmt.Errorf("%w: no answer to the login", errTDS)
}

func tdsString(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}
