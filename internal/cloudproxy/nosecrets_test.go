package cloudproxy

import (
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whatever is wrong with a request, the answer gives away neither a secret nor the
// signature that would have been right.
func TestRefusalsTellNoSecrets(t *testing.T) {
	for name, change := range map[string]func(r *http.Request){
		"path":   func(r *http.Request) { r.URL.Path = "/l" },
		"header": func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public") },
		"signature": func(r *http.Request) {
			auth, _, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			r.Header.Set("Authorization", auth+"Signature="+strings.Repeat("0a", 32))
		},
		"key": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), testKeys.ID, "AKIA", 1))
		},
		"time": func(r *http.Request) { r.Header.Set(headerDate, "20260304T000000Z") },
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t, "PUT", bucket+"/k", "hello", "X-Amz-Acl", "private")
			signing{}.sign(t, r, "hello")
			change(r)
			r = received(t, r)
			a := newTestAWS()
			_, err := a.Check(r)
			if err == nil {
				t.Fatal("it is let through")
			}
			w := httptest.NewRecorder()
			a.WriteError(w, r, err.(*Error))
			said := err.Error() + w.Body.String()
			words := []string{testKeys.Secret}
			if s, err := readSignature(r); err == nil {
				right, err := s.compute(r, credentials{id: testKeys.ID, secret: testKeys.Secret}, r.Header.Get(headerSHA256), s.paths(r)[0])
				if err != nil {
					t.Fatal(err)
				}
				words = append(words, hex.EncodeToString(right))
			}
			for _, word := range words {
				if strings.Contains(said, word) {
					t.Errorf("it says %s", said)
				}
			}
		})
	}
}
