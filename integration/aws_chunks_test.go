//go:build linux

package integration

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func hmacSHA256(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	io.WriteString(h, text)
	return h.Sum(nil)
}

// chunked is a body of which each chunk is signed by itself, behind the signature
// of the request ("Signature calculations for the authorization header:
// transferring payload in multiple chunks", Amazon S3 API Reference).
func chunked(keys aws.Credentials, at time.Time, seed string, content []byte) []byte {
	day := at.Format("20060102")
	scope := day + "/" + awsRegion + "/s3/aws4_request"
	key := []byte("AWS4" + keys.SecretAccessKey)
	for part := range strings.SplitSeq(scope, "/") {
		key = hmacSHA256(key, part)
	}
	empty := sha256.Sum256(nil)
	var b bytes.Buffer
	for last := false; !last; {
		chunk := content[:min(64<<10, len(content))]
		content, last = content[len(chunk):], len(chunk) == 0
		sum := sha256.Sum256(chunk)
		seed = hex.EncodeToString(hmacSHA256(key, strings.Join([]string{"AWS4-HMAC-SHA256-PAYLOAD", at.Format("20060102T150405Z"),
			scope, seed, hex.EncodeToString(empty[:]), hex.EncodeToString(sum[:])}, "\n")))
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n%s\r\n", len(chunk), seed, chunk)
	}
	return b.Bytes()
}

// TestAWSSignedChunks: what Java's SDK sends is signed chunk by chunk, with keys
// that Amazon does not know.
func TestAWSSignedChunks(t *testing.T) {
	nothingLeft(t)
	p := startAWSProxy(t, awsTransports[0].get(t), "--app", awsMain)
	keys, err := p.credentials().Retrieve(t.Context())
	check(t, err)
	content := bytes.Repeat([]byte("chunks!"), 50_000)
	key := awsPath(t)
	at := time.Now().UTC()
	length := int64(len(chunked(keys, at, strings.Repeat("0", 64), content)))
	r, err := http.NewRequestWithContext(t.Context(), "PUT", "https://"+awsBucket+".s3.us-east-1.amazonaws.com/"+key, nil)
	check(t, err)
	const hash = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	r.ContentLength = length
	r.Header = http.Header{"X-Amz-Content-Sha256": {hash}, "X-Amz-Decoded-Content-Length": {fmt.Sprint(len(content))}, "Content-Encoding": {"aws-chunked"}}
	check(t, v4.NewSigner().SignHTTP(t.Context(), keys, r, hash, "s3", awsRegion, at, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }))
	_, seed, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	r.Body = io.NopCloser(bytes.NewReader(chunked(keys, at, seed, content)))
	res, err := (&http.Client{Transport: p.transport(t)}).Do(r)
	check(t, err)
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", res.Status, text)
	}
	out, err := p.s3(t, p.credentials()).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(awsBucket), Key: &key})
	check(t, err)
	defer out.Body.Close()
	if got, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
	}
}
