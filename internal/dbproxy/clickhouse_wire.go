package dbproxy

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"
)

// Packets of the native protocol (ClickHouse documentation, "Native protocol").
// A number is a varint as in encoding/binary, a string has its length before it.
const (
	clickhouseHello     = 0 // of both sides
	clickhouseException = 2 // of the server
	clickhouseClientAsk = 4 // ping
	clickhouseServerAck = 4 // pong

	// clickhouseRevision is the last in which a server's hello has the fields
	// read here and no client has to say anything after it.
	clickhouseRevision = 54412
	// Since these revisions a server's hello has a time zone, a name for
	// display, a patch version.
	clickhouseZone, clickhouseDisplay, clickhousePatch = 54058, 54372, 54401

	clickhouseText  = 16 << 10  // the longest string that is read
	clickhouseLimit = 128 << 10 // how much is read at all
)

// Codes of exceptions. Clients ask for a password on some others.
const (
	clickhouseNetworkError = 210
	clickhouseAccessDenied = 497
)

// clickhouseWords is the code and the text of a refusal.
func clickhouseWords(r Refusal) (int, string) {
	if r.Login {
		return clickhouseAccessDenied, "DB::Exception: " + r.Text
	}
	return clickhouseNetworkError, "DB::Exception: " + r.Text
}

// refuseClickHouse answers a hello with an exception.
func refuseClickHouse(client net.Conn, r Refusal) error {
	if err := readClickHouseHello(bufio.NewReader(io.LimitReader(client, clickhouseLimit))); err != nil {
		return fmt.Errorf("refuse a ClickHouse client: %w", err)
	}
	code, text := clickhouseWords(r)
	out := []byte{clickhouseException}
	out = binary.LittleEndian.AppendUint32(out, uint32(code))
	out = appendClickHouse(out, "DB::Exception", text, "") // type, text, stack
	out = append(out, 0)                                   // no cause within
	if _, err := client.Write(out); err != nil {
		return fmt.Errorf("refuse a ClickHouse client: %w", err)
	}
	return nil
}

// readClickHouseHello reads over what a client says first: its name, its
// version, and the database, user and password.
func readClickHouseHello(in *bufio.Reader) error {
	if kind, err := binary.ReadUvarint(in); err != nil || kind != clickhouseHello {
		return cmp.Or(err, errClickHousePacket)
	}
	if _, err := readClickHouseText(in); err != nil {
		return err
	}
	if _, err := readClickHouseNumbers(in, 3); err != nil {
		return err
	}
	for range 3 {
		if _, err := readClickHouseText(in); err != nil {
			return err
		}
	}
	return nil
}

// errClickHouseText says that a string is longer than any that is meant to be
// read by people.
var errClickHouseText = errors.New("a string in a ClickHouse packet is too long")

func readClickHouseText(in *bufio.Reader) (string, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return "", err
	}
	if n > clickhouseText {
		return "", errClickHouseText
	}
	b := make([]byte, n)
	_, err = io.ReadFull(in, b)
	return string(b), err
}

func readClickHouseNumbers(in *bufio.Reader, n int) ([]uint64, error) {
	list := make([]uint64, n)
	for i := range list {
		var err error
		if list[i], err = binary.ReadUvarint(in); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func appendClickHouse(b []byte, texts ...string) []byte {
	for _, s := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

// clickhouseLogin reports whether err is that of a server that was reached and
// lets nobody in so: user unknown, password wrong, password required, or any of
// these.
func clickhouseLogin(err error) bool {
	said, ok := errors.AsType[*ServerError](err)
	return ok && slices.Contains([]string{"192", "193", "194", "516"}, said.Code)
}

// clickhousePing says hello as the user of at, without a password, which the
// proxy adds if there is one, and asks for a sign of life.
func clickhousePing(_ context.Context, c net.Conn, at Endpoint) (Pong, error) {
	in := bufio.NewReader(io.LimitReader(c, clickhouseLimit))
	hello := appendClickHouse([]byte{clickhouseHello}, "tshx")
	for _, n := range []uint64{1, 0, clickhouseRevision} {
		hello = binary.AppendUvarint(hello, n)
	}
	hello = appendClickHouse(hello, at.Name, cmp.Or(at.User, "default"), "")
	start := time.Now()
	if _, err := c.Write(hello); err != nil {
		return Pong{}, fmt.Errorf("send the ClickHouse hello: %w", err)
	}
	version, err := readClickHouseAnswer(in)
	if clickhouseLogin(err) {
		return Pong{RoundTrip: time.Since(start), Note: "the server wants a password"}, nil
	}
	if err != nil {
		return Pong{}, fmt.Errorf("read the ClickHouse hello: %w", err)
	}
	start = time.Now()
	if _, err := c.Write([]byte{clickhouseClientAsk}); err != nil {
		return Pong{}, fmt.Errorf("send the ClickHouse ping: %w", err)
	}
	kind, err := binary.ReadUvarint(in)
	if err == nil && kind != clickhouseServerAck {
		err = errClickHousePacket
	}
	if err != nil {
		return Pong{}, fmt.Errorf("read the ClickHouse pong: %w", err)
	}
	return Pong{Version: version, RoundTrip: time.Since(start)}, nil
}

var errClickHousePacket = errors.New("this is no packet of ClickHouse")

// readClickHouseAnswer reads a server's hello and returns its version, which has
// the name before it where that is not ClickHouse, or a *ServerError.
func readClickHouseAnswer(in *bufio.Reader) (string, error) {
	kind, err := binary.ReadUvarint(in)
	if err != nil {
		return "", err
	}
	switch kind {
	case clickhouseHello:
	case clickhouseException:
		return "", readClickHouseException(in)
	default:
		return "", errClickHousePacket
	}
	name, err := readClickHouseText(in)
	if err != nil {
		return "", err
	}
	n, err := readClickHouseNumbers(in, 3)
	if err != nil {
		return "", err
	}
	major, minor, revision := n[0], n[1], n[2]
	for _, since := range []uint64{clickhouseZone, clickhouseDisplay} {
		if revision >= since {
			if _, err := readClickHouseText(in); err != nil {
				return "", err
			}
		}
	}
	version := fmt.Sprintf("%d.%d", major, minor)
	if revision >= clickhousePatch {
		if n, err = readClickHouseNumbers(in, 1); err != nil {
			return "", err
		}
		version += fmt.Sprintf(".%d", n[0])
	}
	if name != "ClickHouse" {
		version = name + " " + version
	}
	return version, nil
}

func readClickHouseException(in *bufio.Reader) error {
	var code int32
	if err := binary.Read(in, binary.LittleEndian, &code); err != nil {
		return err
	}
	if _, err := readClickHouseText(in); err != nil {
		return err
	}
	text, err := readClickHouseText(in)
	if err != nil {
		return err
	}
	return &ServerError{Code: strconv.Itoa(int(code)), Text: text}
}
