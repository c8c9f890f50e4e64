package cloudproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The examples of AWS's own documentation ("Signature calculations for the
// Authorization header: transferring a payload in multiple chunks").
var (
	exampleKeys = Keys{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
)

const exampleLength = 65536 + 1024

func exampleBody(trailer bool) string {
	a := strings.Repeat("a", exampleLength)
	sums := []string{"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"}
	end := "\r\n"
	if trailer {
		sums = []string{"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2", "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"}
		end = "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
	}
	return fmt.Sprintf("10000;chunk-signature=%s\r\n%s\r\n400;chunk-signature=%s\r\n%s\r\n0;chunk-signature=%s\r\n%s",
		sums[0], a[:65536], sums[1], a[65536:], sums[2], end)
}

func exampleRequest(t testing.TB, trailer bool, body string) *http.Request {
	t.Helper()
	payload, names, seed := payloadSigned, "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
		"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	r := request(t, "PUT", "https://s3.amazonaws.com/examplebucket/chunkObject.txt", body, "Content-Encoding", "aws-chunked",
		"X-Amz-Decoded-Content-Length", fmt.Sprint(exampleLength), "X-Amz-Storage-Class", "REDUCED_REDUNDANCY", headerDate, exampleTime.Format(sigV4Time))
	if trailer {
		payload, names, seed = payloadSignedTrailer, "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
			"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32c")
	}
	r.Header.Set(headerSHA256, payload)
	r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/20130524/us-east-1/s3/aws4_request,SignedHeaders=%s,Signature=%s", sigV4Algorithm, exampleKeys.ID, names, seed))
	return r
}

func exampleAWS() *AWS {
	return NewAWS(AWSOptions{Keys: []Keys{exampleKeys}, Now: func() time.Time { return exampleTime }})
}

// Signed chunks go on as a plain body, or in unsigned chunks where trailers follow.
func TestChunks(t *testing.T) {
	a := strings.Repeat("a", exampleLength)
	for _, tt := range []struct {
		name    string
		trailer bool
		want    string
		payload string
		length  int64
	}{
		{"plain", false, a, payloadUnsigned, exampleLength},
		{"trailer", true, "10000\r\n" + a[:65536] + "\r\n400\r\n" + a[65536:] + "\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n", payloadUnsignedTrailer, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := received(t, exampleRequest(t, tt.trailer, exampleBody(tt.trailer)))
			in.Body = io.NopCloser(iotest.HalfReader(in.Body))
			c, err := exampleAWS().Check(in)
			if err != nil {
				t.Fatal(err)
			}
			out := c.Request
			body, err := io.ReadAll(out.Body)
			if err != nil || string(body) != tt.want {
				t.Errorf("%d bytes, %v", len(body), err)
			}
			if out.ContentLength != tt.length || out.Header.Get(headerSHA256) != tt.payload {
				t.Errorf("length %d, %v", out.ContentLength, out.Header)
			}
			if got := out.Header.Get("Content-Encoding"); tt.trailer != (got == "aws-chunked") || !tt.trailer && got != "" {
				t.Errorf("encoding %q", got)
			}
			if auth := out.Header.Get("Authorization"); !strings.Contains(auth, "x-amz-storage-class") || strings.Contains(auth, "decoded") != tt.trailer {
				t.Errorf("signed anew as %s", auth)
			}
		})
	}
}

// Nothing of a chunk is let through that is not what was signed, and a body that is
// cut never looks complete.
func TestChunksBroken(t *testing.T) {
	good, trailer := exampleBody(false), exampleBody(true)
	for _, tt := range []struct {
		name    string
		body    string
		trailer bool
		most    int // bytes that may get through
	}{
		{"first chunk", strings.Replace(good, "aaaa", "aaab", 1), false, 0},
		{"second chunk", good[:65536+200] + "b" + good[65536+201:], false, 65536},
		{"swapped", strings.Replace(good, "ad80", "ad81", 1), false, 0},
		{"end", strings.Replace(good, "b6c6", "b6c7", 1), false, exampleLength},
		{"cut in a chunk", good[:1000], false, 0},
		{"cut behind a chunk", good[:65536+87], false, 65536},
		{"cut before the end", good[:len(good)-2], false, exampleLength},
		{"ends too early", good[:65536+87] + "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n", false, 65536},
		{"more behind the end", good + "x", false, exampleLength},
		{"longer chunk", strings.Replace(good, "a\r\n400", "ab\r\n400", 1), false, 65536},
		{"no signature", strings.Replace(good, "10000;chunk-signature=", "10000;x=", 1), false, 0},
		{"huge", strings.Replace(good, "10000;", "ffffffff;", 1), false, 0},
		{"negative", strings.Replace(good, "10000;", "-1;", 1), false, 0},
		{"long line", strings.Repeat("1", 70<<10), false, 0},
		{"line feeds only", strings.ReplaceAll(good, "\r\n", "\n"), false, 0},
		{"nothing", "", false, 0},
		{"trailer", strings.Replace(trailer, "sOO8", "sOO9", 1), true, 1 << 20},
		{"trailer's signature", strings.Replace(trailer, "d81f", "d81e", 1), true, 1 << 20},
		{"no trailer's signature", strings.Replace(trailer, "x-amz-trailer-signature", "x-amz-other", 1), true, 1 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := readSignature(exampleRequest(t, tt.trailer, ""))
			if err != nil {
				t.Fatal(err)
			}
			r := &http.Request{Body: io.NopCloser(strings.NewReader(tt.body))}
			c := newChunks(r, s, credentials{id: exampleKeys.ID, secret: exampleKeys.Secret}, exampleLength, tt.trailer)
			got, err := io.ReadAll(c)
			if err == nil {
				t.Fatal("it is let through")
			}
			if _, ok := errors.AsType[*Error](err); !ok && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%v", err)
			}
			if len(got) > tt.most {
				t.Errorf("%d bytes get through", len(got))
			}
			if bytes.Contains(got, []byte("crc32c")) {
				t.Error("the trailer gets through")
			}
		})
	}
}

// Without a length there is nothing to go on with.
func TestChunksNoLength(t *testing.T) {
	r := exampleRequest(t, false, exampleBody(false))
	s, _ := readSignature(r)
	r.Header.Del("X-Amz-Decoded-Content-Length")
	if _, err := unchunk(r, s, credentials{}, false); codeOf(err) != "SignatureDoesNotMatch" {
		t.Errorf("%v", err)
	}
}

// Other encodings stay.
func TestChunksEncoding(t *testing.T) {
	r := exampleRequest(t, false, "")
	r.Header["Content-Encoding"] = []string{"aws-chunked, gzip"}
	s, _ := readSignature(r)
	if _, err := unchunk(r, s, credentials{}, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"gzip"}, r.Header["Content-Encoding"]); diff != "" {
		t.Error(diff)
	}
}

func FuzzChunks(f *testing.F) {
	for _, trailer := range []bool{false, true} {
		f.Add([]byte(exampleBody(trailer)), trailer)
	}
	f.Add([]byte("0;chunk-signature="+strings.Repeat("0", 64)+"\r\n\r\n"), false)
	s := &signature{At: exampleTime, Region: "us-east-1", Service: "s3", Value: make([]byte, 32)}
	f.Fuzz(func(t *testing.T, body []byte, trailer bool) {
		c := newChunks(&http.Request{Body: io.NopCloser(bytes.NewReader(body))}, s, credentials{secret: "s"}, exampleLength, trailer)
		if got, err := io.ReadAll(c); err == nil || len(got) > 0 {
			t.Errorf("%d bytes get through, %v", len(got), err)
		}
	})
}

func FuzzParseChunkHeader(f *testing.F) {
	f.Add("10000;chunk-signature=" + strings.Repeat("0a", 32))
	f.Fuzz(func(t *testing.T, line string) {
		size, sum, err := parseChunkHeader(line)
		if err != nil {
			return
		}
		if size < 0 || size > maxChunk || len(sum) != 32 {
			t.Fatalf("%q: %d, %x", line, size, sum)
		}
		again, _, err := parseChunkHeader(fmt.Sprintf("%x;chunk-signature=%x", size, sum))
		if err != nil || again != size {
			t.Errorf("%q: %d, %v", line, again, err)
		}
	})
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKID/20260304/us-east-1/iam/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0a", 32), "20260304T050607Z")
	f.Fuzz(func(t *testing.T, value, date string) {
		s, err := parseAuthorization(value, date)
		if err != nil {
			if !errors.Is(err, errMalformed) && !errors.Is(err, errUnsigned) && !errors.Is(err, errSigV4a) {
				t.Errorf("%v", err)
			}
			return
		}
		if host := awsEndpoint(s.Service, s.Region, ""); strings.ContainsAny(host, "/:@?#% \r\n") || s.Key == "" || len(s.Value) != 32 {
			t.Errorf("%+v leads to %q", s, host)
		}
	})
}
