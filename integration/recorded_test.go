//go:build linux

package integration

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// Servers that no package has say what real ones have said, to one question
// after the other.

// serveHTTP gives every request the same answer, with the mark by which
// DynamoDB is known.
func serveHTTP(answer string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		in := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Amzn-Requestid: 1\r\nContent-Length: %d\r\n\r\n%s",
				len(answer), answer)
		}
	}
}

// unhex reads hexadecimal digits with white space between them.
func unhex(text string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// Answers of SQL Server ([MS-TDS], sections 2.2.6.5, 4.4 and 2.2.7): a PRELOGIN
// without encryption, the acknowledgement of a login, and a row with the number
// 42.
var (
	tdsPrelogin = unhex(`00 00 10 00 06  01 00 16 00 01  02 00 17 00 01  FF  10 00 10 27 00 00  02  00`)
	tdsLoginAck = unhex(`E3 1B 00 01 06 6D 00 61 00 73 00 74 00 65 00 72 00 06 6D 00 61 00 73 00 74 00 65 00 72 00
		AD 36 00 01 74 00 00 04 16 4D 00 69 00 63 00 72 00 6F 00 73 00 6F 00 66 00 74 00 20 00 53 00 51 00 4C 00
		20 00 53 00 65 00 72 00 76 00 65 00 72 00 00 00 00 00 0F 00 07 D0
		E3 13 00 04 04 34 00 30 00 39 00 36 00 04 34 00 30 00 39 00 36 00
		FD 00 00 00 00 00 00 00 00 00 00 00 00`)
	tdsRow = unhex(`81 01 00  00 00 00 00 00 00 38 01 6E 00  D1 2A 00 00 00  FD 10 00 C1 00 01 00 00 00 00 00 00 00`)
)

// serveTDS lets everybody in and answers each batch with the row.
func serveTDS(c *net.TCPConn) {
	const prelogin, login, answer, last = 0x12, 0x10, 0x04, 1
	in := bufio.NewReader(c)
	head := make([]byte, 8)
	for {
		for head[1] = 0; head[1]&last == 0; { // all packets of a message
			if _, err := io.ReadFull(in, head); err != nil {
				return
			}
			if _, err := in.Discard(int(binary.BigEndian.Uint16(head[2:])) - len(head)); err != nil {
				return
			}
		}
		body := tdsRow
		switch head[0] {
		case prelogin:
			body = tdsPrelogin
		case login:
			body = tdsLoginAck
		}
		packet := []byte{answer, last, 0, 0, 0, 0, 1, 0}
		binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)+len(body)))
		if _, err := c.Write(append(packet, body...)); err != nil {
			return
		}
	}
}
