package upgrade

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Opcodes of frames (RFC 6455, section 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

const (
	wsFin     = 0x80
	wsMask    = 0x80
	wsControl = 125 // the most that a control frame carries, in bytes
	// wsHeader is the longest header: two bytes, a length of eight, a mask.
	wsHeader = 2 + 8 + 4
)

// wsPayload is the most that one written frame carries, in bytes: what package
// conn moves at once, in TLS records of the inner connection.
const wsPayload = 64<<10 + 512

// wsBuffers lends what frames are built in, so that idle connections keep none.
var wsBuffers = sync.Pool{New: func() any { return new([wsHeader + wsPayload]byte) }}

var errTextFrame = errors.New("text frame on a binary WebSocket")

// wsFrameError says how a peer has broken the protocol.
type wsFrameError string

func (e wsFrameError) Error() string { return "websocket: " + string(e) }

// wsReader takes frames apart. A read beneath that fails for now can be tried
// again.
type wsReader struct {
	masked bool // frames must be masked, as clients' are, or must not be

	head     [wsHeader]byte
	have     int    // bytes of head read so far
	op       byte   // of the frame that is being read
	fin      bool   // it is the last of its message
	left     uint64 // bytes of its payload not read yet
	mask     [4]byte
	at       int  // bytes of its payload read, modulo 4
	message  bool // a message has begun and not ended
	control  [wsControl]byte
	controls int // bytes of control read so far
}

// inside reports whether the stream may not end here.
func (r *wsReader) inside() bool { return r.message || r.left > 0 || r.have > 0 }

// next reads the header of the next frame.
func (r *wsReader) next(c io.Reader) error {
	for need := 2; ; {
		for r.have < need {
			n, err := c.Read(r.head[r.have:need])
			if r.have += n; r.have < need && err != nil {
				return err
			}
		}
		if need = headerLength(r.head[1]); r.have == need {
			break
		}
	}
	h := r.head[:r.have]
	r.have = 0
	return r.parse(h)
}

// headerLength is that of the header with the given second byte.
func headerLength(b byte) int {
	n := 2
	switch b &^ wsMask {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if b&wsMask != 0 {
		n += 4
	}
	return n
}

func (r *wsReader) parse(h []byte) error {
	r.fin, r.op = h[0]&wsFin != 0, h[0]&0xf
	masked := h[1]&wsMask != 0
	switch length := h[1] &^ wsMask; length {
	case 126:
		r.left = uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		r.left = binary.BigEndian.Uint64(h[2:])
	default:
		r.left = uint64(length)
	}
	r.at, r.controls = 0, 0
	if masked {
		copy(r.mask[:], h[len(h)-4:])
	}
	switch {
	case h[0]&0x70 != 0:
		return wsFrameError("RSV1, RSV2 or RSV3 is set")
	case masked != r.masked:
		return wsFrameError("wrong MASK bit")
	case r.left>>63 != 0:
		return wsFrameError("negative length")
	case r.op == opText || r.op == opBinary:
		if r.message {
			return wsFrameError("a message begins within another")
		}
		r.message = !r.fin
	case r.op == opContinuation:
		if !r.message {
			return wsFrameError("continuation of no message")
		}
		r.message = !r.fin
	case r.op == opClose || r.op == opPing || r.op == opPong:
		if !r.fin || r.left > wsControl {
			return wsFrameError("long or fragmented control frame")
		}
	default:
		return wsFrameError(fmt.Sprintf("unknown opcode %d", r.op))
	}
	return nil
}

// payload reads what is there of the frame's payload.
func (r *wsReader) payload(c io.Reader, p []byte) (int, error) {
	if uint64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := c.Read(p)
	r.left -= uint64(n)
	if r.masked {
		at := r.at
		maskTo(p[:n], p[:n], [4]byte{r.mask[at], r.mask[(at+1)&3], r.mask[(at+2)&3], r.mask[(at+3)&3]})
		r.at = (r.at + n) & 3
	}
	return n, err
}

// controlPayload reads the whole payload of a control frame.
func (r *wsReader) controlPayload(c io.Reader) ([]byte, error) {
	for r.left > 0 {
		n, err := r.payload(c, r.control[r.controls:])
		if r.controls += n; r.left > 0 && err != nil {
			return nil, err
		}
	}
	return r.control[:r.controls], nil
}

// writeWSFrame writes one frame with its header in one write; payload is at most
// wsPayload long. A client's is masked with a fresh key (RFC 6455, section 5.3).
// It returns how much of payload was written.
func writeWSFrame(c net.Conn, op byte, masked bool, payload []byte) (int, error) {
	buf := wsBuffers.Get().(*[wsHeader + wsPayload]byte)
	defer wsBuffers.Put(buf)
	h := append(buf[:0], wsFin|op, 0)
	switch n := len(payload); {
	case n < 126:
		h[1] = byte(n)
	case n < 1<<16:
		h[1] = 126
		h = binary.BigEndian.AppendUint16(h, uint16(n))
	default:
		h[1] = 127
		h = binary.BigEndian.AppendUint64(h, uint64(n))
	}
	if !masked {
		n, err := c.Write(append(h, payload...))
		return max(0, n-len(h)), err
	}
	h[1] |= wsMask
	var key [4]byte
	rand.Read(key[:])
	h = append(h, key[:]...)
	body := buf[len(h) : len(h)+len(payload)]
	maskTo(body, payload, key)
	n, err := c.Write(buf[:len(h)+len(body)])
	return max(0, n-len(h)), err
}

// maskTo sets dst, which may be src, to src with key over it, in whole blocks: faster than a copy
// and then a loop.
func maskTo(dst, src []byte, key [4]byte) {
	var block [1 << 10]byte
	n := copy(block[:], key[:])
	for want := min(len(block), len(src)); n < want; n *= 2 {
		copy(block[n:], block[:n])
	}
	for len(src) > 0 {
		n := subtle.XORBytes(dst, src[:min(len(src), len(block))], block[:])
		dst, src = dst[n:], src[n:]
	}
}
