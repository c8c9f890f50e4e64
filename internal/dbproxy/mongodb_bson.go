package dbproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
)

// Element types of BSON that tshx writes or reads (BSON specification 1.1).
const (
	bsonDouble = 0x01
	bsonString = 0x02
	bsonBool   = 0x08
	bsonInt32  = 0x10
	bsonInt64  = 0x12
)

var errBSON = errors.New("malformed BSON")

// bsonDocument builds a document; it holds its elements so far.
type bsonDocument []byte

func (d bsonDocument) element(kind byte, name string) bsonDocument {
	return append(append(append(d, kind), name...), 0)
}

func (d bsonDocument) text(name, v string) bsonDocument {
	d = binary.LittleEndian.AppendUint32(d.element(bsonString, name), uint32(len(v)+1))
	return append(append(d, v...), 0)
}

func (d bsonDocument) int32(name string, v int32) bsonDocument {
	return binary.LittleEndian.AppendUint32(d.element(bsonInt32, name), uint32(v))
}

func (d bsonDocument) double(name string, v float64) bsonDocument {
	return binary.LittleEndian.AppendUint64(d.element(bsonDouble, name), math.Float64bits(v))
}

func (d bsonDocument) truth(name string, v bool) bsonDocument {
	b := byte(0)
	if v {
		b = 1
	}
	return append(d.element(bsonBool, name), b)
}

func (d bsonDocument) bytes() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(d)+5))
	return append(append(b, d...), 0)
}

// bsonElement is one element of a document.
type bsonElement struct {
	kind  byte
	name  string
	value []byte
}

// text returns the value of a string, and "" for any other.
func (e bsonElement) text() string {
	if e.kind != bsonString {
		return ""
	}
	return string(e.value[4 : len(e.value)-1])
}

// truth reports what a server means by a field that is a number or a boolean.
func (e bsonElement) truth() bool {
	switch e.kind {
	case bsonBool:
		return e.value[0] != 0
	case bsonInt32, bsonInt64:
		return len(bytes.Trim(e.value, "\x00")) > 0
	case bsonDouble:
		return math.Float64frombits(binary.LittleEndian.Uint64(e.value)) != 0
	}
	return false
}

// bsonFirst returns the first element of the elements in rest, and what is
// after it. It does not look past that element.
func bsonFirst(rest []byte) (bsonElement, []byte, error) {
	if len(rest) < 2 {
		return bsonElement{}, nil, errBSON
	}
	kind := rest[0]
	name, rest, ok := bytes.Cut(rest[1:], []byte{0})
	n := bsonSize(kind, rest)
	if !ok || n < 0 || n > len(rest) {
		return bsonElement{}, nil, errBSON
	}
	return bsonElement{kind, string(name), rest[:n]}, rest[n:], nil
}

// bsonFields returns the elements of a whole document that have one of names.
func bsonFields(doc []byte, names ...string) (map[string]bsonElement, error) {
	if len(doc) < 5 || uint64(binary.LittleEndian.Uint32(doc)) != uint64(len(doc)) || doc[len(doc)-1] != 0 {
		return nil, errBSON
	}
	found := map[string]bsonElement{}
	for rest := doc[4 : len(doc)-1]; len(rest) > 0; {
		e, after, err := bsonFirst(rest)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if n == e.name {
				found[n] = e
			}
		}
		rest = after
	}
	return found, nil
}

// bsonSize returns the length of a value of the given kind at the start of b,
// or -1 if it has none.
func bsonSize(kind byte, b []byte) int {
	switch kind {
	case 0x06, 0x0a, 0x7f, 0xff:
		return 0
	case bsonBool:
		return 1
	case bsonInt32:
		return 4
	case bsonDouble, bsonInt64, 0x09, 0x11:
		return 8
	case 0x07:
		return 12
	case 0x13:
		return 16
	}
	if kind == 0x0b { // regular expression: two strings that end with a zero
		one := bytes.IndexByte(b, 0)
		two := bytes.IndexByte(b[one+1:], 0)
		if one < 0 || two < 0 {
			return -1
		}
		return one + two + 2
	}
	// All others begin with a length, which some do not count in.
	var beside, least int64
	switch kind {
	case 0x03, 0x04, 0x0f:
		beside, least = 0, 5
	case bsonString, 0x0d, 0x0e:
		beside, least = 4, 1
	case 0x05:
		beside, least = 5, 0
	case 0x0c:
		beside, least = 16, 1
	default:
		return -1
	}
	if len(b) < 4 {
		return -1
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n < least || n > int64(len(b)) {
		return -1
	}
	return int(n + beside)
}
