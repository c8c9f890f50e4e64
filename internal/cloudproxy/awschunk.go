package cloudproxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Bounds of what a chunked body may make us hold: a chunk is let through once it
// was verified as a whole. Clients have chunks of 64 KiB to 1 MiB.
const (
	maxChunk     = 16 << 20
	maxChunkLine = 1 << 10
	maxTrailer   = 16 << 10
)

// errChunk is the error of a body in signed chunks that are not what was signed.
func errChunk(format string, a ...any) error {
	return &Error{http.StatusForbidden, "SignatureDoesNotMatch", "aws-chunked body: " + fmt.Sprintf(format, a...)}
}

// chunks reads a body that was sent in signed chunks (aws-chunked, of S3), and
// verifies each one: the far side signs the head anew, of which these signatures
// are a continuation, and cannot sign chunks. What it yields is the body itself, or
// with trailers the same in unsigned chunks.
type chunks struct {
	source  io.ReadCloser
	br      *bufio.Reader
	signer  *v4.StreamSigner
	sig     *signature
	key     []byte // that chunks are signed with
	last    []byte // signature of the chunk before
	trailer bool   // trailers follow
	left    int64  // of the decoded body
	ready   []byte // verified, to be read
	buf     []byte
	err     error
}

// newChunks decodes the body of r, signed by c as s says. left is its decoded
// length.
func newChunks(r *http.Request, s *signature, c credentials, left int64, trailer bool) *chunks {
	return &chunks{
		source: r.Body, br: bufio.NewReaderSize(r.Body, 64<<10), sig: s, key: signingKey(s, c), last: s.Value,
		signer:  v4.NewStreamSigner(c.aws(), s.Service, s.Region, s.Value),
		trailer: trailer, left: left,
	}
}

// signingKey is what s was signed with.
func signingKey(s *signature, c credentials) []byte {
	key := []byte("AWS4" + c.secret)
	for _, word := range []string{s.At.Format(sigV4Day), s.Region, s.Service, sigV4Terminator} {
		key = hmacSHA256(key, word)
	}
	return key
}

func hmacSHA256(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	io.WriteString(h, text)
	return h.Sum(nil)
}

func (c *chunks) Close() error { return c.source.Close() }

func (c *chunks) Read(p []byte) (int, error) {
	for len(c.ready) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.err = c.next()
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// next reads a chunk. At the last one it returns io.EOF.
func (c *chunks) next() error {
	size, given, err := c.header()
	if err != nil {
		return err
	}
	if size > c.left || size == 0 && c.left > 0 {
		return errChunk("it has not the length that X-Amz-Decoded-Content-Length says")
	}
	c.left -= size
	if int64(cap(c.buf)) < size {
		c.buf = make([]byte, size)
	}
	data := c.buf[:size]
	if _, err := io.ReadFull(c.br, data); err != nil {
		return cut(err)
	}
	want, err := c.signer.GetSignature(context.Background(), nil, data, c.sig.At)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want, given) != 1 {
		return errChunk("the signature of a chunk is wrong")
	}
	c.last = want
	if size > 0 {
		if err := c.lineEnd(); err != nil {
			return err
		}
		c.ready = data
		if c.trailer {
			c.ready = fmt.Appendf(nil, "%x\r\n", size)
			c.ready = append(append(c.ready, data...), "\r\n"...)
		}
		return nil
	}
	return c.end()
}

// header reads the line in front of a chunk: SIZE;chunk-signature=HEX.
func (c *chunks) header() (size int64, signature []byte, err error) {
	line, err := c.line(maxChunkLine)
	if err != nil {
		return 0, nil, err
	}
	return parseChunkHeader(line)
}

func parseChunkHeader(line string) (size int64, signature []byte, err error) {
	length, rest, _ := strings.Cut(line, ";")
	value, ok := strings.CutPrefix(rest, "chunk-signature=")
	if !ok {
		return 0, nil, errChunk("a chunk has no signature")
	}
	n, err := strconv.ParseUint(length, 16, 32)
	if err != nil || n > maxChunk || strings.ContainsAny(length, "+_") {
		return 0, nil, errChunk("the size of a chunk is wrong, or more than %d MiB", maxChunk>>20)
	}
	if signature, err = hex.DecodeString(value); err != nil || len(signature) != sha256.Size {
		return 0, nil, errChunk("a chunk has no signature")
	}
	return int64(n), signature, nil
}

// line reads a line without its end.
func (c *chunks) line(most int) (string, error) {
	var line []byte
	for {
		part, err := c.br.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > most:
			return "", errChunk("a line of it is too long")
		case err == nil:
			text, ok := strings.CutSuffix(string(line), "\r\n")
			if !ok {
				return "", errChunk("a line of it has no end")
			}
			return text, nil
		case err != bufio.ErrBufferFull:
			return "", cut(err)
		}
	}
}

func (c *chunks) lineEnd() error {
	line, err := c.line(len("\r\n"))
	if err == nil && line != "" {
		err = errChunk("a chunk is longer than it says")
	}
	return err
}

// end reads what follows the last chunk.
func (c *chunks) end() error {
	if !c.trailer {
		if err := c.lineEnd(); err != nil {
			return err
		}
		return c.over()
	}
	// What was signed are the trailers with line feeds.
	var plain, out bytes.Buffer
	for {
		line, err := c.line(maxTrailer)
		if err != nil {
			return err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || plain.Len() > maxTrailer {
			return errChunk("its trailers are broken")
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name != "x-amz-trailer-signature" {
			fmt.Fprintf(&plain, "%s:%s\n", name, value)
			fmt.Fprintf(&out, "%s:%s\r\n", name, value)
			continue
		}
		given, err := hex.DecodeString(value)
		if err != nil || subtle.ConstantTimeCompare(given, c.signTrailer(plain.Bytes())) != 1 {
			return errChunk("the signature of its trailers is wrong")
		}
		break
	}
	if err := c.lineEnd(); err != nil {
		return err
	}
	c.ready = append(append([]byte("0\r\n"), out.Bytes()...), "\r\n"...)
	return c.over()
}

func (c *chunks) signTrailer(trailer []byte) []byte {
	sum := sha256.Sum256(trailer)
	return hmacSHA256(c.key, strings.Join([]string{
		"AWS4-HMAC-SHA256-TRAILER", c.sig.At.Format(sigV4Time), c.sig.scope(), hex.EncodeToString(c.last), hex.EncodeToString(sum[:]),
	}, "\n"))
}

// over reports the end of the body, behind which there is nothing.
func (c *chunks) over() error {
	if _, err := c.br.ReadByte(); err == nil {
		return errChunk("there is something behind its end")
	} else if err != io.EOF {
		return err
	}
	return io.EOF
}

// cut is the error of a body that ends too early.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// unchunk has the body of a request decoded, verified by what it was signed with,
// and says in its head what it is then. payload is the new value of the payload's
// header.
func unchunk(r *http.Request, s *signature, c credentials, trailer bool) (payload string, err error) {
	const headerLength = "X-Amz-Decoded-Content-Length"
	length, err := strconv.ParseInt(r.Header.Get(headerLength), 10, 64)
	if err != nil || length < 0 {
		return "", errChunk("there is no %s", headerLength)
	}
	r.Body = newChunks(r, s, c, length, trailer)
	if trailer {
		r.ContentLength = -1 // other lines than those of the client
		return payloadUnsignedTrailer, nil
	}
	r.Header.Del(headerLength)
	var encodings []string
	for _, value := range r.Header.Values("Content-Encoding") {
		for e := range strings.SplitSeq(value, ",") {
			if e = strings.TrimSpace(e); e != "" && !strings.EqualFold(e, "aws-chunked") {
				encodings = append(encodings, e)
			}
		}
	}
	r.Header.Del("Content-Encoding")
	if len(encodings) > 0 {
		r.Header.Set("Content-Encoding", strings.Join(encodings, ","))
	}
	r.ContentLength = length
	return payloadUnsigned, nil
}
