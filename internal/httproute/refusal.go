package httproute

import (
	"bytes"
	"io"
	"net/http"
	"strings"
)

// Headers by which the proxy, or the agent behind it, says something about a
// request (docs/protocol.md, "Apps").
const (
	// HeaderAPIError is why it was not let through.
	HeaderAPIError = "X-Teleport-Api-Error"
	// HeaderAPIInfo is a remark, with answers of any kind.
	HeaderAPIInfo = "X-Teleport-Api-Info"
)

// APIError returns why the proxy, or the agent behind it, did not let a request
// through, in one line; empty if the answer does not say that it did not. What is
// on the wire is a report with types and a stack, of which the last words are for
// users.
func APIError(res *http.Response) string {
	text := strings.Join(strings.Fields(res.Header.Get(HeaderAPIError)), " ")
	report, ok := strings.CutPrefix(text, "ERROR REPORT:")
	if !ok {
		return text
	}
	report, user, _ := strings.Cut(report, "User Message:")
	if user = strings.TrimSpace(user); user != "" {
		return user
	}
	report, _, _ = strings.Cut(report, "Stack Trace:")
	_, original, _ := strings.Cut(report, "Original Error:")
	return strings.TrimSpace(original)
}

// Bare reports whether an answer is an error in the words of its code and nothing
// else. That is what the proxy says itself, such as of a session that it does not
// know; others may say the same. The body of the answer stays as it is.
func Bare(res *http.Response) bool {
	text := http.StatusText(res.StatusCode) + "\n"
	if res.StatusCode < 400 || res.ContentLength != int64(len(text)) ||
		!strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") || res.Header.Get("X-Content-Type-Options") != "nosniff" {
		return false
	}
	if res.Request != nil && res.Request.Method == http.MethodHead {
		return true
	}
	body := make([]byte, len(text))
	n, err := io.ReadFull(res.Body, body)
	rest := io.MultiReader(bytes.NewReader(body[:n]), res.Body)
	if err != nil {
		rest = io.MultiReader(bytes.NewReader(body[:n]), failing{err})
	}
	res.Body = &peeked{rest, res.Body}
	return err == nil && string(body) == text
}

// peeked is a body of which the beginning was read.
type peeked struct {
	io.Reader
	io.Closer
}

// failing is a reader that does nothing but fail.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
