package dbproxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Codes of MongoDB messages (MongoDB Wire Protocol, "Opcodes").
const (
	mongoOpReply      = 1
	mongoOpQuery      = 2004
	mongoOpCompressed = 2012
	mongoOpMsg        = 2013
)

const (
	mongoHeader  = 16
	mongoLongest = 48000000 // as servers announce it
	// mongoKept is how much of a message is looked at; the command comes first.
	mongoKept = 64 << 10
	// mongoMoreToCome is the flag of a message that wants no answer.
	mongoMoreToCome = 1 << 1
	// mongoWireVersion is that of MongoDB 7.0, which all clients in use take.
	mongoWireVersion = 21
)

var errMongo = errors.New("malformed MongoDB message")

// mongoMessage is the head of one message.
type mongoMessage struct {
	id   uint32
	op   uint32
	body []byte // after the header, at most mongoKept bytes
}

// mongoSpeaks tells by the header of a greeting, which is short and answers
// nothing.
func mongoSpeaks(first []byte) bool {
	if n := binary.LittleEndian.Uint32(first); n < mongoHeader || n > mongoKept {
		return false
	}
	if len(first) < mongoHeader {
		return true
	}
	if binary.LittleEndian.Uint32(first[8:]) != 0 {
		return false
	}
	switch binary.LittleEndian.Uint32(first[12:]) {
	case mongoOpQuery, mongoOpCompressed, mongoOpMsg:
		return true
	}
	return false
}

// readMongo reads one message and drops what of it is past mongoKept.
func readMongo(r io.Reader) (mongoMessage, error) {
	head := make([]byte, mongoHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return mongoMessage{}, err
	}
	n := binary.LittleEndian.Uint32(head)
	if n < mongoHeader || n > mongoLongest {
		return mongoMessage{}, fmt.Errorf("%w: length %d", errMongo, n)
	}
	n -= mongoHeader
	m := mongoMessage{
		id: binary.LittleEndian.Uint32(head[4:]), op: binary.LittleEndian.Uint32(head[12:]),
		body: make([]byte, min(n, mongoKept)),
	}
	if _, err := io.ReadFull(r, m.body); err != nil {
		return m, err
	}
	_, err := io.CopyN(io.Discard, r, int64(n)-int64(len(m.body)))
	return m, err
}

// document returns the document of a message from its start on; the end may be
// cut off.
func (m mongoMessage) document() ([]byte, error) {
	b := m.body
	skip := func(n uint64) { b = b[min(n, uint64(len(b))):] }
	switch m.op {
	case mongoOpMsg:
		skip(4)
		for len(b) > 5 && b[0] == 1 { // a sequence of documents beside the command
			skip(1 + uint64(binary.LittleEndian.Uint32(b[1:])))
		}
		skip(1)
	case mongoOpQuery:
		skip(4)
		skip(uint64(bytes.IndexByte(b, 0)+1) + 8)
	case mongoOpReply:
		skip(20)
	default:
		return nil, fmt.Errorf("%w: operation %d", errMongo, m.op)
	}
	if len(b) < 5 {
		return nil, errMongo
	}
	return b[:min(uint64(len(b)), uint64(binary.LittleEndian.Uint32(b)))], nil
}

// silent reports whether the client wants no answer.
func (m mongoMessage) silent() bool {
	return m.op == mongoOpMsg && len(m.body) >= 4 && binary.LittleEndian.Uint32(m.body)&mongoMoreToCome != 0
}

// reply wraps doc in the form in which m wants its answer.
func (m mongoMessage) reply(doc []byte) []byte {
	op, body := uint32(mongoOpMsg), make([]byte, 5) // no flags, one document
	if m.op == mongoOpQuery {
		op, body = mongoOpReply, make([]byte, 20)
		body[16] = 1 // number of documents
	}
	return mongoEncode(op, m.id, append(body, doc...))
}

func mongoEncode(op, to uint32, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(mongoHeader+len(body)))
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint32(b, to)
	return append(binary.LittleEndian.AppendUint32(b, op), body...)
}

// mongoRefuse greets like a server and refuses every command, until the client
// leaves. A refused greeting would be no news to clients: they go on looking for
// a server until they give up, for half a minute by default. And a connection
// that ends after a refused command is a fault that they try to get over.
func mongoRefuse(client net.Conn, r Refusal) error {
	refusal := mongoError(r)
	for {
		m, err := readMongo(client)
		if err == io.EOF || isTimeout(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("refuse a MongoDB client: %w", err)
		}
		if m.silent() {
			continue
		}
		answer := refusal
		switch m.command() {
		case "hello", "isMaster", "ismaster":
			answer = mongoHello()
		}
		if _, err := client.Write(m.reply(answer)); err != nil {
			return fmt.Errorf("refuse a MongoDB client: %w", err)
		}
	}
}

// command is the name of the command in m, empty if it is not understood.
func (m mongoMessage) command() string {
	doc, err := m.document()
	if err != nil || len(doc) < 4 {
		return ""
	}
	e, _, err := bsonFirst(doc[4:])
	if err != nil { // its value may be long, but no greeting's is
		return ""
	}
	return e.name
}

// mongoHello is a standalone server's answer to the greeting.
func mongoHello() []byte {
	return bsonDocument{}.truth("helloOk", true).truth("ismaster", true).truth("isWritablePrimary", true).
		int32("maxBsonObjectSize", 16<<20).int32("maxMessageSizeBytes", mongoLongest).int32("maxWriteBatchSize", 100000).
		int32("minWireVersion", 0).int32("maxWireVersion", mongoWireVersion).truth("readOnly", false).double("ok", 1).bytes()
}

// mongoError takes codes after which clients do not try again.
func mongoError(r Refusal) []byte {
	code, name := int32(96), "OperationFailed"
	if r.Login {
		code, name = 18, "AuthenticationFailed"
	}
	return bsonDocument{}.double("ok", 0).text("errmsg", r.Text).int32("code", code).text("codeName", name).bytes()
}

// mongoPing greets and asks for the build, which needs no login.
func mongoPing(_ context.Context, c net.Conn, _ Endpoint) (Pong, error) {
	start := time.Now()
	if _, err := mongoAsk(c, bsonDocument{}.int32("isMaster", 1).truth("helloOk", true)); err != nil {
		return Pong{}, err
	}
	p := Pong{RoundTrip: time.Since(start)}
	fields, err := mongoAsk(c, bsonDocument{}.int32("buildInfo", 1), "version")
	said, refused := errors.AsType[*ServerError](err)
	switch {
	case refused:
		p.Note = said.Text
	case err != nil:
		return Pong{}, err
	default:
		p.Version = fields["version"].text()
	}
	return p, nil
}

// mongoAsk runs a command and returns the fields asked for of its answer, or
// *ServerError.
func mongoAsk(c net.Conn, cmd bsonDocument, names ...string) (map[string]bsonElement, error) {
	if _, err := c.Write(mongoEncode(mongoOpMsg, 0, append(make([]byte, 5), cmd.text("$db", "admin").bytes()...))); err != nil {
		return nil, err
	}
	m, err := readMongo(c)
	if err != nil {
		return nil, err
	}
	doc, err := m.document()
	if err != nil {
		return nil, err
	}
	fields, err := bsonFields(doc, append(names, "ok", "errmsg", "codeName")...)
	if err != nil {
		return nil, err
	}
	if !fields["ok"].truth() {
		return nil, &ServerError{Code: fields["codeName"].text(), Text: fields["errmsg"].text()}
	}
	return fields, nil
}
