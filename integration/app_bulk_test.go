//go:build linux

package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Sizes of what is carried in one piece.
const (
	uploadSize   = 64 << 20
	downloadSize = 256 << 20
)

var upload = noiseFile(uploadSize)

// fileSum is the SHA-256 of a file in hexadecimal.
func fileSum(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	check(t, err)
	return hex.EncodeToString(sum.Sum(nil))
}

// TestAppBulk: what is large gets through unchanged, on all ways. nginx is the
// application that keeps it.
func TestAppBulk(t *testing.T) {
	need(t, "nginx", "curl")
	sent := upload.get(t)
	want := fileSum(t, sent)
	big := filepath.Join(webdav.get(t).Root, "big")
	f, err := os.Create(big)
	check(t, err)
	noise, err := sendNoise(f, downloadSize)
	check(t, err)
	check(t, f.Close())
	check(t, os.Chmod(big, 0o644))
	for i, way := range appTransports {
		t.Run(way.name, func(t *testing.T) { // one after the other: each fills the machine
			nothingLeft(t)
			url := way.get(t).appURL(t, appFiles)
			file := fmt.Sprintf("%s/upload%d", url, i)

			// curl waits for "100 Continue" here for longer than the test does.
			code, out, talk := curl(t, "-v", "--expect100-timeout", "600", "-H", "Expect: 100-continue", "-T", sent, "-w", "%{http_code} %{size_upload}", file)
			if code != 0 || out != fmt.Sprint("201 ", uploadSize) || !strings.Contains(talk, "< HTTP/1.1 100 ") {
				t.Fatalf("upload: exit code %d, %q, %s", code, out, clip(talk))
			}
			if got := fileSum(t, filepath.Join(webdav.get(t).Root, filepath.Base(file))); got != want {
				t.Error("what was uploaded has changed")
			}
			mustCurl(t, "-f", "-X", "DELETE", file)

			to := filepath.Join(t.TempDir(), "download")
			out = mustCurl(t, "-f", "-o", to, "-w", "%{http_code} %{size_download}", url+"/big")
			if out != fmt.Sprint("200 ", downloadSize) || fileSum(t, to) != hex.EncodeToString(noise.Sum(nil)) {
				t.Errorf("download: %s, or it has changed", out)
			}
			// A part of it, behind the middle.
			out = mustCurl(t, "-f", "-r", "200000000-200000009", "-w", "|%{http_code} %header{content-range}", url+"/big")
			if !strings.HasSuffix(out, fmt.Sprintf("|206 bytes 200000000-200000009/%d", downloadSize)) {
				t.Errorf("%q", out)
			}
			check(t, os.Remove(to))
		})
	}
}

// TestAppChunked: a body without a length arrives as one, complete.
func TestAppChunked(t *testing.T) {
	need(t, "curl")
	for _, way := range appTransports {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			url := way.get(t).appURL(t, appWeb)
			var s seen
			out := mustCurl(t, "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-T", upload.get(t), url+"/seen")
			check(t, json.Unmarshal([]byte(out), &s))
			if s.Length != -1 || s.Size != uploadSize || s.Sum != fileSum(t, upload.get(t)) || s.Err != "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestAppRefusesUpload: the application decides whether it wants the body. One
// that waits for that is not sent, and an answer before the end of the body
// arrives.
func TestAppRefusesUpload(t *testing.T) {
	need(t, "nginx", "curl")
	for _, way := range appTransports {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			for _, url := range []string{way.get(t).appURL(t, appWeb) + "/refuse", way.get(t).appURL(t, appFiles) + "/small/file"} {
				code, out, talk := curl(t, "-v", "--expect100-timeout", "600", "-H", "Expect: 100-continue", "-T", upload.get(t), "-o", "/dev/null",
					"-w", "%{http_code} %{size_upload}", url)
				if code != 0 || out != "413 0" || strings.Contains(talk, "< HTTP/1.1 100 ") {
					t.Errorf("%s: exit code %d, %q, %s", url, code, out, clip(talk))
				}
				_, out, talk = curl(t, "-H", "Expect:", "-T", upload.get(t), "-o", "/dev/null", "-w", "%{http_code}", url)
				if out != "413" {
					t.Errorf("%s without waiting: %q, %s", url, out, talk)
				}
			}
		})
	}
}
