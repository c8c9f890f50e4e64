package cloudproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signedChunks is a body in chunks with good signatures.
func signedChunks(t testing.TB, s *signature, c credentials, parts ...string) string {
	t.Helper()
	signer := v4.NewStreamSigner(c.aws(), s.Service, s.Region, s.Value)
	var b strings.Builder
	for _, part := range parts {
		sum, err := signer.GetSignature(context.Background(), nil, []byte(part), s.At)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%x;chunk-signature=%x\r\n%s\r\n", len(part), sum, part)
	}
	return b.String()
}

// The number of bytes that the head names is part of what was signed: a body of
// another one is not complete, however well its chunks are signed.
func TestChunksOfAnotherLength(t *testing.T) {
	s, err := readSignature(exampleRequest(t, false, ""))
	if err != nil {
		t.Fatal(err)
	}
	keys := credentials{id: exampleKeys.ID, secret: exampleKeys.Secret}
	body := signedChunks(t, s, keys, "hello ", "world", "")
	for length, complete := range map[int64]bool{10: false, 11: true, 12: false} {
		got, err := io.ReadAll(newChunks(&http.Request{Body: io.NopCloser(strings.NewReader(body))}, s, keys, length, false))
		_, refused := errors.AsType[*Error](err)
		if complete && (err != nil || string(got) != "hello world") || !complete && !refused {
			t.Errorf("%d bytes: %q, %v", length, got, err)
		}
	}
}

// A chunk is held until it has been verified, so its size has a bound.
func TestChunkTooLarge(t *testing.T) {
	for size, want := range map[int]bool{maxChunk: true, maxChunk + 1: false} {
		_, _, err := parseChunkHeader(fmt.Sprintf("%x;chunk-signature=%s", size, strings.Repeat("0a", 32)))
		if (err == nil) != want {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
