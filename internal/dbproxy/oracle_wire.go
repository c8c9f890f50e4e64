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
	"strings"
	"time"
)

// Types of TNS packets.
const (
	tnsConnect  = 1
	tnsAccept   = 2
	tnsRefuse   = 4
	tnsRedirect = 5
	tnsData     = 6
	tnsResend   = 11
)

const (
	tnsHeader  = 8
	tnsVersion = 314 // the last with a length of two bytes throughout
	tnsOldest  = 300 // since Oracle 8
	// tnsConnectAt is where the data of a CONNECT begins.
	tnsConnectAt = 58
	// tnsPatience is how often a server may ask for the CONNECT again.
	tnsPatience = 3

	tnsErrRefused = 12564 // TNS: connection refused
	tnsErrLogin   = 12638 // credential retrieval failed
)

var errTNS = errors.New("malformed TNS packet")

// oracleSpeaks tells by the header of a CONNECT, which has no checksum, and the
// version in it.
func oracleSpeaks(first []byte) bool {
	if binary.BigEndian.Uint16(first) < 32 || !bytes.Equal(first[2:5], []byte{0, 0, tnsConnect}) {
		return false
	}
	if len(first) < tnsHeader+2 {
		return true
	}
	v := binary.BigEndian.Uint16(first[tnsHeader:])
	return v >= tnsOldest && v < 2*tnsOldest
}

func readTNS(r io.Reader) (kind byte, body []byte, err error) {
	head := make([]byte, tnsHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(head)) - tnsHeader
	if n < 0 {
		return 0, nil, errTNS
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head[4], body, err
}

func tnsPacket(kind byte, body []byte) []byte {
	b := make([]byte, tnsHeader, tnsHeader+len(body))
	binary.BigEndian.PutUint16(b, uint16(tnsHeader+len(body)))
	b[4] = kind
	return append(b, body...)
}

// oracleRefuse answers a CONNECT with a number that clients know and our text,
// which only their traces show.
func oracleRefuse(client net.Conn, r Refusal) error {
	kind, body, err := readTNS(client)
	if err != nil {
		return err
	}
	if kind != tnsConnect || len(body) < 20 {
		return fmt.Errorf("%w: type %d in place of CONNECT", errTNS, kind)
	}
	// What does not fit beside the header comes in a packet of its own.
	length, at := binary.BigEndian.Uint16(body[16:]), binary.BigEndian.Uint16(body[18:])
	if int(at)+int(length) > tnsHeader+len(body) {
		if kind, _, err = readTNS(client); err != nil {
			return err
		} else if kind != tnsData {
			return fmt.Errorf("%w: type %d in place of the CONNECT's data", errTNS, kind)
		}
	}
	_, err = client.Write(tnsPacket(tnsRefuse, tnsRefusal(r)))
	return err
}

func tnsRefusal(r Refusal) []byte {
	code := tnsErrRefused
	if r.Login {
		code = tnsErrLogin
	}
	text := strings.NewReplacer("(", "[", ")", "]", "'", "`", "\\", "/").Replace(r.Text)
	text = text[:min(len(text), 1000)]
	data := fmt.Sprintf("(DESCRIPTION=(TMP=)(VSNNUM=0)(ERR=%d)(ERROR_STACK=(ERROR=(CODE=%d)(EMFI=4)(ARGS='%s'))))", code, code, text)
	// Both reasons are in the data.
	return append(binary.BigEndian.AppendUint16([]byte{1, 0}, uint16(len(data))), data...)
}

// oraclePing asks for a connection to the service, as far as the answer to
// that: versions are said only after a login.
func oraclePing(_ context.Context, c net.Conn, at Endpoint) (Pong, error) {
	start := time.Now()
	for range tnsPatience {
		if _, err := c.Write(tnsPacket(tnsConnect, tnsConnectBody(at))); err != nil {
			return Pong{}, err
		}
		kind, body, err := readTNS(c)
		if err != nil {
			return Pong{}, err
		}
		p := Pong{RoundTrip: time.Since(start)}
		switch kind {
		case tnsAccept:
			if len(body) < 2 {
				return Pong{}, errTNS
			}
			p.Note = fmt.Sprintf("accepts connections, TNS version %d", binary.BigEndian.Uint16(body))
			return p, nil
		case tnsRedirect:
			p.Note = "sends clients on to another address"
			return p, nil
		case tnsRefuse:
			return Pong{}, fmt.Errorf("the server refuses: %s", tnsReason(body))
		case tnsResend:
			start = time.Now()
		default:
			return Pong{}, fmt.Errorf("%w: type %d in answer to CONNECT", errTNS, kind)
		}
	}
	return Pong{}, fmt.Errorf("%w: CONNECT is asked for again and again", errTNS)
}

// tnsReason is the error number of a REFUSE, or what it says otherwise.
func tnsReason(body []byte) string {
	if len(body) < 4 {
		return "it says no reason"
	}
	_, rest, _ := strings.Cut(string(body[4:]), "(ERR=")
	number, _, closed := strings.Cut(rest, ")")
	if n, err := strconv.ParseUint(number, 10, 16); err == nil && closed {
		return fmt.Sprintf("ORA-%05d", n)
	}
	return string(bytes.TrimSpace(body[4:min(len(body), 200)]))
}

// tnsConnectBody is a CONNECT for a service, without what later versions added.
func tnsConnectBody(at Endpoint) []byte {
	// The characters that have a meaning in a description have no way to be
	// written in a value.
	value := strings.NewReplacer("(", "", ")", "", "=", "", "\\", "", "'", "", "\"", "")
	data := fmt.Sprintf("(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=%s)(CID=(PROGRAM=tshx)(HOST=localhost)(USER=%s))))",
		value.Replace(at.Name), value.Replace(at.User))
	data = data[:min(len(data), 2048)]
	b := make([]byte, tnsConnectAt-tnsHeader)
	for i, v := range []uint16{tnsVersion, tnsOldest, 0, 8192, 32767, 0x4f98, 0, 1, uint16(len(data)), tnsConnectAt} {
		binary.BigEndian.PutUint16(b[2*i:], v)
	}
	b[24], b[25] = 0x84, 0x84 // no native encryption or authentication
	return append(b, data...)
}
