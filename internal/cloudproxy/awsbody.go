package cloudproxy

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
)

// The values of X-Amz-Content-Sha256 that are no hash.
const (
	payloadUnsigned        = "UNSIGNED-PAYLOAD"
	payloadUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	payloadSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	payloadSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
)

// maxHashed is the longest body that is read whole, because its hash is part of the
// signature and nothing before it says what that is. Most services take less.
// Those that take more, such as S3, have a header for it, and are streamed.
const maxHashed = 128 << 20

var emptySHA256 = hex.EncodeToString(sha256.New().Sum(nil))

// errTooLarge refuses a body above maxHashed.
var errTooLarge = errors.New("the body is too large to be hashed first")

// readHashed reads the body of a request, puts it in the body's place, and returns
// its hash.
func readHashed(r *http.Request) (string, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return emptySHA256, nil
	}
	if r.ContentLength > maxHashed {
		return "", errTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxHashed+1))
	if err != nil {
		return "", fmt.Errorf("body of the request: %w", err)
	}
	if len(body) > maxHashed {
		return "", errTooLarge
	}
	sum := sha256.Sum256(body)
	r.Header.Del("Expect") // it was asked for
	r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	if len(body) == 0 {
		r.Body = http.NoBody
	}
	return hex.EncodeToString(sum[:]), nil
}

// isHash reports whether a payload's value is a hash.
func isHash(payload string) bool {
	return len(payload) == 2*sha256.Size && strings.Trim(payload, "0123456789abcdef") == ""
}

// hashed is a body that is let through up to its last bytes, which follow once
// all of it has the hash that was signed: what is not complete is not acted upon.
type hashed struct {
	io.ReadCloser
	sum  hash.Hash
	want string
	left int64 // -1 if the length is not known
}

// errPayload is the error of a body that is not what was signed.
var errPayload = &Error{http.StatusBadRequest, "XAmzContentSHA256Mismatch",
	"the body of the request has not the hash that its header X-Amz-Content-Sha256 says"}

func newHashed(r *http.Request, want string) io.ReadCloser {
	return &hashed{ReadCloser: r.Body, sum: sha256.New(), want: want, left: r.ContentLength}
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	h.sum.Write(p[:n])
	if h.left > 0 {
		if h.left -= int64(n); h.left <= 0 {
			return h.end(n, err)
		}
	} else if err == io.EOF {
		return h.end(n, err)
	}
	return n, err
}

func (h *hashed) end(n int, err error) (int, error) {
	got := hex.EncodeToString(h.sum.Sum(nil))
	if subtle.ConstantTimeCompare([]byte(got), []byte(h.want)) != 1 {
		return 0, errPayload
	}
	return n, err
}
